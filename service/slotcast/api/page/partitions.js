// The partitions of the tick topic: this worker's with lag, snapshot and recovery, others' with who
// has them.

import { read } from "./detail.js";
import { at, made, setText } from "./elements.js";
import * as figures from "./figures.js";

const WORKERS_MS = 10000;

export class Partitions {
  #lines = new Map(); // partition -> line
  #own = [];
  #others = []; // [partition, entry or null]

  /** `onReset` gets the number of the partition to reset; `onWorkers` the other workers. */
  constructor(onReset, onWorkers) {
    this.body = at("partitions").querySelector("tbody");
    this.onReset = onReset;
    this.onWorkers = onWorkers;
    const ask = () => this.#askWorkers();
    ask();
    setInterval(ask, WORKERS_MS);
  }

  show(partitions) {
    this.#own = partitions;
    const noted = partitions.filter((one) => one.damage && one.phase !== "stopped");
    setText(at("notes"), noted.map((one) => `Partition ${one.partition}: ${one.damage}.`).join(" "));
    const mine = new Set(partitions.map((one) => one.partition));
    const others = this.#others.filter(([partition]) => !mine.has(partition));
    const wanted = [...mine, ...others.map(([partition]) => partition)].sort((a, b) => a - b);
    for (const number of this.#lines.keys()) if (!wanted.includes(number)) this.#lines.delete(number);
    for (const one of partitions) this.#line(one.partition).own(one);
    for (const [partition, entry] of others) this.#line(partition).other(entry);
    const elements = wanted.map((number) => this.#lines.get(number).element);
    if (elements.some((element, n) => this.body.children[n] !== element) || this.body.childElementCount !== elements.length) {
      this.body.replaceChildren(...elements);
    }
  }

  #line(number) {
    if (!this.#lines.has(number)) this.#lines.set(number, new Line(number, this.onReset));
    return this.#lines.get(number);
  }

  async #askWorkers() {
    const { worker, workers, unassigned } = await read("workers");
    if (!workers) return; // nobody knows now: what was known may still be so
    const others = workers.filter((entry) => entry.worker !== worker);
    this.#others = [
      ...others.flatMap((entry) => entry.partitions.map((partition) => [partition, entry])),
      ...unassigned.map((partition) => [partition, null]),
    ];
    this.onWorkers(others);
    this.show(this.#own);
  }
}

class Line {
  constructor(number, onReset) {
    this.element = made("tr", {}, made("th", { scope: "row", className: "left", textContent: number }));
    for (const name of ["phase", "lag", "snapshot", "instruments", "actions"]) {
      this[name] = this.element.appendChild(made("td", { className: name === "phase" ? "left" : "" }));
    }
    this.said = this.phase.appendChild(made("span"));
    this.progress = made("progress", { max: 1, "aria-label": `Recovery of partition ${number}` });
    this.reset = this.actions.appendChild(made("button", {
      type: "button", className: "careful", textContent: "Reset…", "aria-label": `Reset partition ${number}…`,
    }));
    this.reset.addEventListener("click", () => onReset(number));
  }

  own({ phase, committed, end, watermark, instruments, replay_done, snapshot_age_s, damage }) {
    const recovering = phase === "recovering";
    const done = replay_done ? `${Math.floor(100 * replay_done)} %` : "not begun";
    setText(this.said, recovering ? `recovering, ${done}` : phase);
    this.said.className = `phase ${phase}`;
    this.said.title = damage;
    if (recovering) this.phase.append(this.progress);
    else this.progress.remove();
    this.progress.value = replay_done;
    setText(this.lag, figures.count(end - committed));
    const age = figures.duration(snapshot_age_s);
    setText(this.snapshot, phase === "live" ? `${age} · ${figures.count(committed - watermark)}` : "–");
    setText(this.instruments, figures.count(instruments));
  }

  /** Live at another worker, or (null) at nobody's. */
  other(entry) {
    this.progress.remove();
    this.said.className = "phase";
    setText(this.said, entry ? `at ${entry.worker}` : "nobody has it live");
    this.said.title = entry ? `${entry.url}, for other workers` : "";
    for (const cell of [this.lag, this.snapshot, this.instruments]) setText(cell, "–");
  }
}
