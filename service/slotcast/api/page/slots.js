// The slots as a picture: a square each, the darker the further from the middle.

import { read } from "./detail.js";
import { at, made, setAttributes, setText } from "./elements.js";
import * as figures from "./figures.js";

const TALLEST = 210;
const LARGEST = 16;
const SMALLEST = 3;
const FREE_SHOWN = 64; // free slots behind the last that is held
const LETTERS = 12; // above the middle, and as many below
const NAMED_MS = 120; // the pointer rests this long before its slot is looked up

export class SlotMap {
  #map = null;
  #cells = "";
  #at = null;
  #columns = 1;
  #cell = LARGEST;
  #naming = 0;
  #named = null; // [slot, instrument or null] that was looked up last

  /** `onOpen` gets the name of the instrument whose slot is chosen. */
  constructor(onOpen) {
    this.canvas = at("slot-map");
    this.onOpen = onOpen;
    new ResizeObserver(() => this.#draw()).observe(this.canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#draw();
      this.#drawScale();
    });
    this.canvas.addEventListener("pointermove", (event) => this.#look(this.#slotAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.#look(null));
    this.canvas.addEventListener("click", (event) => this.#open(this.#slotAt(event)));
    this.canvas.addEventListener("keydown", (event) => this.#step(event));
    this.canvas.addEventListener("blur", () => this.#look(null));
  }

  show(map) {
    if (!map) return;
    const scale = `${map.measure} ${map.middle} ${map.reach}`;
    const before = this.#map && `${this.#map.measure} ${this.#map.middle} ${this.#map.reach}`;
    this.#map = map;
    this.#cells = map.cells.slice(0, map.cells.replace(/\.+$/, "").length + FREE_SHOWN);
    this.#draw();
    if (scale !== before) this.#drawScale();
    this.#tell(document.activeElement !== this.canvas); // what has the focus is read out when it changes
  }

  #draw() {
    const width = this.canvas.parentElement.clientWidth;
    if (!this.#map || !width) return;
    const cells = this.#cells;
    const fitting = Math.floor(Math.sqrt((width * TALLEST) / cells.length));
    this.#cell = Math.min(LARGEST, Math.max(SMALLEST, fitting));
    this.#columns = Math.max(1, Math.floor(width / this.#cell));
    const height = Math.ceil(cells.length / this.#columns) * this.#cell;
    const density = devicePixelRatio || 1;
    this.canvas.width = this.#columns * this.#cell * density;
    this.canvas.height = height * density;
    this.canvas.style.width = `${this.#columns * this.#cell}px`;
    this.canvas.style.height = `${height}px`;
    const brush = this.canvas.getContext("2d");
    brush.scale(density, density);
    const paint = palette();
    const size = this.#cell - (this.#cell > 4 ? 1.5 : 0.5);
    for (let slot = 0; slot < cells.length; slot += 1) {
      brush.fillStyle = paint(cells[slot]);
      brush.fillRect((slot % this.#columns) * this.#cell, Math.floor(slot / this.#columns) * this.#cell, size, size);
    }
    this.#ring(brush, size);
  }

  #ring(brush, size) {
    if (this.#at === null) return;
    const [x, y] = [(this.#at % this.#columns) * this.#cell, Math.floor(this.#at / this.#columns) * this.#cell];
    brush.strokeStyle = colour("--ink");
    brush.lineWidth = 1.5;
    brush.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
  }

  #drawScale() {
    const { measure, middle, reach } = this.#map;
    const written = measure === "skill" ? figures.skill : figures.share;
    setText(at("scale-low"), written(middle - reach));
    setText(at("scale-high"), written(middle + reach));
    const paint = palette();
    at("scale").replaceChildren(...[-12, -8, -4, 0, 4, 8, 12].map((step) => {
      const swatch = made("i");
      swatch.style.background = paint(String.fromCharCode(65 + LETTERS + step));
      return swatch;
    }));
  }

  #slotAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [column, line] = [event.clientX - box.left, event.clientY - box.top].map((d) => Math.floor(d / this.#cell));
    const slot = line * this.#columns + column;
    return column >= 0 && column < this.#columns && slot >= 0 && slot < this.#cells.length ? slot : null;
  }

  #step(event) {
    if (event.key === "Enter") return this.#open(this.#at);
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns }[event.key];
    if (by === undefined || !this.#map) return undefined;
    event.preventDefault();
    const to = this.#at === null ? 0 : this.#at + by;
    return this.#look(Math.min(this.#cells.length - 1, Math.max(0, to)));
  }

  #look(slot) {
    if (slot === this.#at) return;
    this.#at = slot;
    this.#draw();
    clearTimeout(this.#naming);
    if (slot !== null && this.#cells[slot] !== ".") {
      this.#naming = setTimeout(() => this.#name(slot).then(() => this.#tell(true)), NAMED_MS);
    }
    this.#tell(true);
  }

  async #name(slot) {
    const page = await read(`instruments?slot=${slot}&limit=1&workers=this`);
    this.#named = [slot, page.instruments?.[0] ?? null];
    return this.#named[1];
  }

  async #open(slot) {
    if (slot === null || this.#cells[slot] === ".") return;
    const found = await this.#name(slot);
    if (found) this.onOpen(found.instrument);
  }

  #tell(aloud) {
    const text = this.#said();
    setText(at("slot-said"), text);
    if (!aloud) return;
    setAttributes(this.canvas, {
      "aria-valuemin": 0, "aria-valuemax": Math.max(0, this.#cells.length - 1),
      "aria-valuenow": this.#at ?? 0, "aria-valuetext": text,
    });
  }

  #said() {
    const cells = this.#map?.cells ?? "";
    if (this.#at === null) {
      const held = cells.length - cells.split(".").length + 1;
      return `${figures.count(held)} of ${figures.plural(cells.length, "slot")} held; point at one to see whose.`;
    }
    if (this.#cells[this.#at] === ".") return `Slot ${this.#at}: free`;
    const found = this.#named?.[0] === this.#at ? this.#named[1] : null;
    if (!found) return `Slot ${this.#at}`;
    const [target] = found.targets;
    return `Slot ${this.#at}: ${found.instrument}, skill ${figures.skill(target.skill)}, coverage ${figures.share(target.coverage)}`;
  }
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Letter -> colour: above the middle the accent, below it grey. */
function palette() {
  const [free, unknown, more, less] = ["--free", "--new", "--accent", "--soft"].map(colour);
  const made = new Map([[".", free], ["?", unknown]]);
  return (letter) => {
    if (!made.has(letter)) {
      const step = letter.charCodeAt(0) - 65 - LETTERS;
      const share = Math.round(16 + (84 * Math.abs(step)) / LETTERS);
      made.set(letter, `color-mix(in srgb, ${step < 0 ? less : more} ${share}%, ${free})`);
    }
    return made.get(letter);
  };
}
