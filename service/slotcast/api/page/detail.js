// One instrument in detail: its chart, its figures, a free run on a copy of its memory, its reset.
// What this worker has comes with the events; what another one has is read through this one.

import { Chart } from "./chart.js";
import { at, made, setText, show } from "./elements.js";
import * as figures from "./figures.js";

const RUN_MS = 2000; // a free run computes: not more often than this
const AGAIN_MS = 100;
const READ_MS = 2000;
const GONE = "Its memory was reset: it is here again with its next tick.";

export class Detail {
  #name = null;
  #view = null;
  #run = null;
  #ranAt = -Infinity;
  #running = false;
  #due = 0;
  #decimals;
  #readAt = -Infinity;

  /** `onClose` is told when the panel is closed. */
  constructor(onClose) {
    this.panel = at("detail");
    this.chart = new Chart(at("chart"), at("chart-said"));
    at("close").addEventListener("click", () => onClose());
    at("steps").addEventListener("change", () => this.#renewRun());
    at("target").addEventListener("change", () => {
      this.#decimals = undefined;
      this.#draw();
    });
  }

  /** Name of the instrument that is shown, or null. */
  get name() {
    return this.#name;
  }

  open(name) {
    if (name === this.#name) return;
    this.#name = name;
    this.#view = this.#run = null;
    this.#decimals = undefined;
    this.#ranAt = -Infinity;
    this.panel.hidden = false;
    show("detail-name", name);
    show("detail-where", "\u00a0");
    at("detail-fault").hidden = true;
    at("target").replaceChildren();
    this.#draw();
    this.#read();
  }

  close() {
    this.#name = this.#view = null;
    this.panel.hidden = true;
  }

  /** What an event says of the instrument; null where this worker does not have it: `others` may. */
  take(view, others) {
    if (this.#name === null) return;
    if (view?.instrument === this.#name) this.#show(view);
    else if (others && performance.now() - this.#readAt > READ_MS) this.#read();
    else if (!others && this.#view) this.#fail({ title: GONE }, false);
  }

  /** Read it wherever it is. */
  async #read() {
    this.#readAt = performance.now();
    const name = this.#name;
    const answer = await read(`instruments/${encodeURIComponent(name)}`);
    if (name !== this.#name) return;
    if (answer.instrument) this.#show(answer);
    else this.#fail(answer);
  }

  #show(view) {
    const moved = this.#view?.offset !== view.offset || this.#view?.ticks !== view.ticks;
    this.#view = view;
    at("detail-fault").hidden = true;
    const slot = view.slot === null ? "paged out" : `slot ${view.slot}`;
    show("detail-where", `partition ${view.partition} · ${slot} · ${view.worker}`);
    this.#offerTargets(view.targets);
    this.#draw();
    if (moved || !this.#run) this.#renewRun(RUN_MS);
  }

  #fail(problem, bad = true) {
    this.#view = this.#run = null;
    at("detail-fault").classList.toggle("bad", bad);
    at("detail-fault").hidden = false;
    setText(at("detail-fault"), problem.detail ?? problem.title ?? "The service did not answer.");
    this.#draw();
  }

  #offerTargets(targets) {
    at("target-choice").hidden = targets.length < 2;
    if (at("target").options.length === targets.length) return;
    at("target").replaceChildren(...targets.map(({ name }) => made("option", { textContent: name })));
  }

  /** Run freely again; if the last one is younger than this, then when it is not any more. */
  async #renewRun(age = 0) {
    clearTimeout(this.#due);
    if (this.#name === null) return;
    const wait = this.#ranAt + age - performance.now();
    if (wait > 0 || this.#running) {
      this.#due = setTimeout(() => this.#renewRun(age), Math.max(wait, AGAIN_MS));
      return;
    }
    this.#running = true;
    const [name, steps] = [this.#name, at("steps").value];
    const run = await read(`instruments/${encodeURIComponent(name)}/forecast?steps=${steps}`);
    this.#running = false;
    this.#ranAt = performance.now();
    if (name !== this.#name || steps !== at("steps").value) return this.#renewRun();
    this.#run = run.forecasts ? run : null;
    return this.#draw();
  }

  #draw() {
    const target = this.#view?.targets[Math.max(0, at("target").selectedIndex)];
    for (const id of ["chart", "chart-said", "facts"]) at(id).hidden = !target;
    at("reset").disabled = !target;
    if (!target) return;
    this.#decimals = figures.decimalsFor(target, this.#decimals);
    const run = this.#run && {
      points: this.#run.forecasts[target.name], lower: this.#run.lower[target.name], upper: this.#run.upper[target.name],
    };
    this.chart.show(`${this.#name}, ${target.name}: recent values and forecasts`, target, run, this.#decimals);
    this.#showFacts(target);
  }

  #showFacts(target) {
    const number = (value) => figures.number(value, this.#decimals);
    const facts = [
      ["Last", number(target.value)],
      ["Forecast", number(target.forecast)],
      ["90 % interval", figures.interval(target.lower, target.upper, this.#decimals)],
      ["By", target.source],
      ["Skill", figures.skill(target.skill)],
      ["Coverage", figures.share(target.coverage)],
      ["Ticks", figures.count(this.#view.ticks)],
      ["Last tick", figures.time(this.#view.ts)],
      ["Offset", figures.count(this.#view.offset)],
      ["Memory since offset", figures.count(this.#view.origin)],
    ];
    if (at("facts").childElementCount !== facts.length) {
      at("facts").replaceChildren(...facts.map(([name]) => made("div", {}, made("dt", { textContent: name }), made("dd"))));
    }
    facts.forEach(([, text], n) => setText(at("facts").children[n].lastChild, text));
  }
}

/** The JSON at this path, a problem's too; without an answer a problem that says so. */
export async function read(path) {
  try {
    const answer = await fetch(path);
    return await answer.json();
  } catch {
    return { title: "The service did not answer." };
  }
}
