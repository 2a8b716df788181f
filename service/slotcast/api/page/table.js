// The table of instruments: one row per target, a page at a time. Row elements are reused, and a
// cell is written only when its text changes, so hundreds of instruments twice a second stay cheap.

import * as figures from "./figures.js";

const SVG = "http://www.w3.org/2000/svg";
const RENEW_MS = 5000; // a moving column is not sorted more often than this
const FIXED = new Set(["name", "target"]);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const names = new Intl.Collator("en", { numeric: true });

const keys = {
  name: (row) => row.name,
  target: (row) => row.target.name,
  value: (row) => row.target.value,
  forecast: (row) => row.target.forecast,
  width: (row) => (row.target.upper === null ? null : row.target.upper - row.target.lower),
  source: (row) => row.target.source,
  skill: (row) => row.target.skill,
  coverage: (row) => row.target.coverage,
  ticks: (row) => row.instrument.ticks,
  slot: (row) => row.instrument.slot,
};

export class InstrumentTable {
  #rows = new Map(); // key -> row
  #order = []; // rows that match, sorted
  #lines = []; // elements of the page
  #sort = { by: "name", down: false };
  #search = "";
  #page = 0;
  #size = 50;
  #generation = 0;
  #orderedAt = 0;
  #stale = true;
  #drawing = 0;

  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.onDraw = () => {};
    for (const head of table.querySelectorAll("th[data-sort]")) this.#makeSortable(head);
    this.#markSorted();
  }

  /** Instruments known so far. */
  get size() {
    return new Set([...this.#rows.values()].map((row) => row.instrument)).size;
  }

  /** What the pager shows. */
  get view() {
    const from = this.#page * this.#size;
    return {
      from: Math.min(from + 1, this.#order.length),
      to: Math.min(from + this.#size, this.#order.length),
      total: this.#order.length,
      known: this.#rows.size,
      moving: !FIXED.has(this.#sort.by),
    };
  }

  /** Take new views of some instruments. */
  update(instruments) {
    for (const instrument of instruments) {
      instrument.targets.forEach((target, at) => this.#put(instrument, target, at));
      if (instrument.targets.length > 1) this.table.classList.remove("one-target");
    }
    this.draw();
  }

  /** From now on rows are of a new connection; `forgetOld` drops those that it did not bring. */
  renew() {
    this.#generation += 1;
  }

  forgetOld() {
    for (const [key, row] of this.#rows) {
      if (row.generation !== this.#generation) this.#rows.delete(key);
    }
    this.#stale = true;
    this.draw();
  }

  search(text) {
    this.#search = text.trim().toLowerCase();
    this.#turnTo(0);
  }

  resize(size) {
    this.#size = size;
    this.#turnTo(0);
  }

  turn(pages) {
    this.#turnTo(this.#page + pages);
  }

  draw() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#arrange();
      const from = this.#page * this.#size;
      const shown = this.#order.slice(from, from + this.#size);
      while (this.#lines.length < shown.length) this.#lines.push(new Line());
      this.#lines.forEach((line, at) => line.show(shown[at]));
      if (this.body.childElementCount !== shown.length) {
        this.body.replaceChildren(...this.#lines.slice(0, shown.length).map((line) => line.element));
      }
      this.onDraw(this.view);
    });
  }

  #put(instrument, target, at) {
    const key = `${instrument.partition}/${instrument.instrument}\n${target.name}`;
    const row = this.#rows.get(key) ?? { key, at, name: instrument.instrument, version: 0 };
    if (!row.version) {
      this.#rows.set(key, row);
      this.#stale = true;
    }
    row.moved = row.version ? Math.sign(target.value - row.target.value) : 0;
    Object.assign(row, { instrument, target, generation: this.#generation });
    row.decimals = figures.decimalsFor(target, row.decimals);
    row.version += 1;
  }

  #turnTo(page) {
    this.#page = page;
    this.#stale = true;
    this.draw();
  }

  #arrange() {
    const moving = !FIXED.has(this.#sort.by);
    const inUse = this.body.matches(":hover, :focus-within");
    const due = performance.now() - this.#orderedAt > RENEW_MS;
    if (!this.#stale && !(moving && due && !inUse)) return;
    this.#order = [...this.#rows.values()].filter((row) => this.#matches(row)).sort(this.#compare());
    const last = Math.max(0, Math.ceil(this.#order.length / this.#size) - 1);
    this.#page = Math.min(Math.max(0, this.#page), last);
    this.#orderedAt = performance.now();
    this.#stale = false;
  }

  #matches(row) {
    return row.name.toLowerCase().includes(this.#search);
  }

  #compare() {
    const key = keys[this.#sort.by];
    const sign = this.#sort.down ? -1 : 1;
    const byName = (a, b) => names.compare(a.name, b.name) || a.at - b.at;
    return (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null) || byName(a, b);
      const order = typeof x === "number" ? x - y : names.compare(x, y);
      return sign * order || byName(a, b);
    };
  }

  #makeSortable(head) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const by = head.dataset.sort;
      this.#sort = { by, down: this.#sort.by === by ? !this.#sort.down : !FIXED.has(by) };
      this.#markSorted();
      this.#turnTo(0);
    });
    head.replaceChildren(button);
  }

  #markSorted() {
    for (const head of this.table.querySelectorAll("th[data-sort]")) {
      const direction = this.#sort.down ? "descending" : "ascending";
      if (head.dataset.sort === this.#sort.by) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    }
  }
}

/** One row's elements; `show` fills them with a row. */
class Line {
  #shown = "";

  constructor() {
    this.element = document.createElement("tr");
    this.name = this.#cell("th", "left");
    this.name.scope = "row";
    this.link = this.name.appendChild(document.createElement("a"));
    this.target = this.#cell("td", "left");
    this.#addTrend();
    this.value = this.#cell("td").appendChild(document.createElement("span"));
    this.value.className = "last";
    for (const name of ["forecast", "interval"]) this[name] = this.#cell("td");
    this.source = this.#cell("td", "left").appendChild(document.createElement("span"));
    for (const name of ["skill", "coverage", "ticks", "slot"]) this[name] = this.#cell("td");
  }

  show(row) {
    if (!row) return;
    const shown = `${row.key}\n${row.version}`;
    if (shown === this.#shown) return;
    const same = this.#shown.startsWith(`${row.key}\n`);
    this.#shown = shown;
    this.#write(row);
    if (same && row.moved && !still.matches) this.#flash(row.moved > 0 ? "up" : "down");
  }

  #write({ name, instrument, target, decimals }) {
    if (setText(this.link, name)) {
      this.link.href = `instruments/${encodeURIComponent(name)}`;
      this.link.title = name;
    }
    setText(this.target, target.name);
    setText(this.value, figures.number(target.value, decimals));
    setText(this.forecast, figures.number(target.forecast, decimals));
    const ends = [target.lower, target.upper].map((end) => figures.number(end, decimals));
    setText(this.interval, target.lower === null ? "–" : ends.join(" – "));
    if (setText(this.source, target.source)) this.source.className = `badge ${target.source}`;
    setText(this.skill, figures.skill(target.skill));
    this.skill.classList.toggle("good", target.skill > 0.0005);
    this.skill.classList.toggle("poor", target.skill < -0.0005);
    setText(this.coverage, figures.share(target.coverage));
    setText(this.ticks, figures.count(instrument.ticks));
    setText(this.slot, instrument.slot === null ? "paged" : String(instrument.slot));
    this.#drawTrend(figures.spark(target));
  }

  #drawTrend({ line, ahead, dot, band }) {
    this.line.setAttribute("d", line);
    this.ahead.setAttribute("d", ahead);
    setAttributes(this.dot, dot ?? { cx: -9, cy: -9 });
    setAttributes(this.band, band ?? { y: 0, height: 0 });
  }

  #flash(direction) {
    const from = { backgroundColor: `var(--${direction}-flash)` };
    // A few steps instead of a smooth fade: every frame of a fade repaints the table.
    const fade = { duration: 800, easing: "steps(3)" };
    this.value.animate([from, { backgroundColor: "transparent" }], fade);
  }

  #cell(tag, className = "") {
    const cell = this.element.appendChild(document.createElement(tag));
    cell.className = className;
    return cell;
  }

  #addTrend() {
    const { WIDTH, HEIGHT, BAND } = figures;
    const svg = this.#cell("td", "left").appendChild(document.createElementNS(SVG, "svg"));
    const viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
    setAttributes(svg, { viewBox, width: WIDTH, height: HEIGHT, "aria-hidden": "true" });
    for (const [name, tag, attributes] of [
      ["band", "rect", { ...BAND, rx: 2 }],
      ["ahead", "path", {}],
      ["line", "path", {}],
      ["dot", "circle", { r: 2.2 }],
    ]) {
      this[name] = svg.appendChild(document.createElementNS(SVG, tag));
      setAttributes(this[name], { class: name, ...attributes });
    }
  }
}

function setText(element, text) {
  const changed = element.textContent !== text;
  if (changed) element.textContent = text;
  return changed;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}
