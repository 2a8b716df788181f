// The table of instruments: a line per target of the part of the list that the service sends. Lines
// are reused, and a cell is written only when its text changes.

import { drawn, made, setAttributes, setText } from "./elements.js";
import * as figures from "./figures.js";

const RENEW_MS = 5000; // a moving column is not put in order more often than this
const still = matchMedia("(prefers-reduced-motion: reduce)");

const keyOf = (partition, name) => `${partition}/${name}`;

export class InstrumentTable {
  #views = new Map(); // key -> the newest view, and how it is written
  #order = []; // keys in the order shown
  #lines = [];
  #orderedAt = -Infinity;
  #opened = "";

  /** `onSort` gets what to sort by, and whether the largest comes first; `onOpen` a name. */
  constructor(table, onSort, onOpen) {
    this.table = table;
    this.body = table.tBodies[0];
    this.onSort = onSort;
    this.onOpen = onOpen;
    this.sort = "name";
    this.descending = false;
    for (const head of table.querySelectorAll("th[data-sort]")) this.#makeSortable(head);
    this.#markSorted();
    this.body.addEventListener("click", (event) => {
      const line = event.target.closest("tr");
      if (line) this.onOpen(line.dataset.name);
    });
  }

  /** Whether the order may change with every tick. */
  get moving() {
    return this.sort !== "name";
  }

  /** Name of the first line, if there is one. */
  get first() {
    return this.#order.length ? this.#views.get(this.#order[0]).view.instrument : null;
  }

  /** From now on other lines are wanted: the next event's order counts at once. */
  expect() {
    this.#orderedAt = -Infinity;
  }

  /** Take an event's order and the views in it that are new. */
  update(order, instruments) {
    for (const view of instruments) this.#put(view);
    const now = performance.now();
    if (!this.moving || now - this.#orderedAt >= RENEW_MS) {
      this.#order = order.map(([partition, name]) => keyOf(partition, name));
      this.#orderedAt = now;
      const wanted = new Set(this.#order);
      for (const key of this.#views.keys()) if (!wanted.has(key)) this.#views.delete(key);
    }
    this.#draw();
  }

  /** Mark the lines of the instrument that is shown in detail. */
  mark(name) {
    this.#opened = name;
    this.#draw();
  }

  #put(view) {
    const key = keyOf(view.partition, view.instrument);
    const before = this.#views.get(key);
    const decimals = view.targets.map((target, n) => figures.decimalsFor(target, before?.decimals[n]));
    this.#views.set(key, { view, decimals, version: (before?.version ?? 0) + 1 });
    if (view.targets.length > 1) this.table.classList.remove("one-target");
  }

  #draw() {
    const rows = this.#order.flatMap((key) => {
      const { view, decimals, version } = this.#views.get(key);
      return view.targets.map((target, n) => ({ key, view, target, n, decimals: decimals[n], version }));
    });
    while (this.#lines.length < rows.length) this.#lines.push(new Line());
    rows.forEach((row, n) => this.#lines[n].show(row, row.view.instrument === this.#opened));
    if (this.body.childElementCount !== rows.length) {
      this.body.replaceChildren(...this.#lines.slice(0, rows.length).map((line) => line.element));
    }
  }

  #makeSortable(head) {
    const button = made("button", { type: "button", textContent: head.textContent });
    button.addEventListener("click", () => {
      const by = head.dataset.sort;
      this.descending = this.sort === by ? !this.descending : by !== "name";
      this.sort = by;
      this.#markSorted();
      this.onSort();
    });
    head.replaceChildren(button);
  }

  #markSorted() {
    for (const head of this.table.querySelectorAll("th[data-sort]")) {
      if (head.dataset.sort === this.sort) {
        head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      } else head.removeAttribute("aria-sort");
    }
  }
}

/** One line's elements; `show` fills them. */
class Line {
  #shown = "";

  constructor() {
    this.element = made("tr");
    const head = this.element.appendChild(made("th", { scope: "row", className: "left" }));
    this.name = head.appendChild(made("button", { type: "button", className: "name" }));
    this.target = this.#cell("left target");
    this.#addTrend();
    this.value = this.#cell("").appendChild(made("span", { className: "last" }));
    const forecast = this.#cell("");
    this.forecast = forecast.appendChild(made("span"));
    this.source = forecast.appendChild(made("span", { className: "unseen" }));
    for (const name of ["interval", "skill", "coverage", "ticks"]) this[name] = this.#cell("");
  }

  show(row, opened) {
    this.element.classList.toggle("opened", opened);
    if (opened) this.name.setAttribute("aria-current", "true");
    else this.name.removeAttribute("aria-current");
    const same = this.#shown.startsWith(`${row.key}\n`);
    const shown = `${row.key}\n${row.n}\n${row.version}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const moved = this.#write(row);
    if (same && moved && !still.matches) this.#flash();
  }

  #write({ view, target, n, decimals }) {
    this.element.dataset.name = view.instrument;
    if (setText(this.name, view.instrument)) this.name.title = view.instrument;
    this.name.tabIndex = n ? -1 : 0; // one stop per instrument
    setText(this.target, target.name);
    const moved = setText(this.value, figures.number(target.value, decimals));
    setText(this.forecast, figures.number(target.forecast, decimals));
    this.forecast.className = `by-${target.source}`;
    setText(this.source, ` by ${target.source}`);
    setText(this.interval, figures.interval(target.lower, target.upper, decimals));
    setText(this.skill, figures.skill(target.skill));
    this.skill.classList.toggle("gain", target.skill > 0.0005);
    setText(this.coverage, figures.share(target.coverage));
    setText(this.ticks, figures.count(view.ticks));
    this.#drawTrend(figures.spark(target));
    return moved;
  }

  #drawTrend({ line, ahead, dot, band }) {
    this.line.setAttribute("d", line);
    this.ahead.setAttribute("d", ahead);
    setAttributes(this.dot, dot ?? { cx: -9, cy: -9 });
    setAttributes(this.band, band ?? { y: 0, height: 0 });
  }

  #flash() {
    // A few steps instead of a smooth fade: every frame of a fade repaints the table.
    const fade = { duration: 700, easing: "steps(3)" };
    this.value.animate([{ backgroundColor: "var(--accent-tint)" }, { backgroundColor: "transparent" }], fade);
  }

  #cell(className) {
    return this.element.appendChild(made("td", { className }));
  }

  #addTrend() {
    const { WIDTH, HEIGHT, BAND } = figures;
    this.band = drawn("rect", { class: "band", rx: 2, ...BAND });
    this.ahead = drawn("path", { class: "ahead" });
    this.line = drawn("path", { class: "line" });
    this.dot = drawn("circle", { class: "dot", r: 2.2 });
    const viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
    const svg = drawn("svg", { viewBox, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
      this.band, this.ahead, this.line, this.dot);
    this.#cell("left").append(svg);
  }
}
