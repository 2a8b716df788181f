// One target drawn large: recent values over the intervals that were forecast for them, then the
// forecasts of a free run. Its points can be looked at with the pointer or with the arrow keys.

import { drawn, setAttributes, setText } from "./elements.js";
import * as figures from "./figures.js";

const HEIGHT = 212;
const EDGE = { top: 10, bottom: 22, right: 10 };
const PAST_SHARE = 0.64; // of the width; the rest is the free run
const SHORTEST = 12; // fewer values than this do not fill their part
const LINES = 4;

export class Chart {
  #shown = null;
  #points = [];
  #at = null; // the point that is looked at, null: none

  constructor(box, said) {
    this.box = box;
    this.said = said;
    this.svg = box.appendChild(drawn("svg", { "aria-hidden": "true" }));
    setAttributes(box, { tabindex: 0, role: "slider", "aria-valuemin": 0 });
    new ResizeObserver(() => this.#draw()).observe(box);
    box.addEventListener("pointermove", (event) => this.#look(this.#nearest(event)));
    box.addEventListener("pointerleave", () => this.#look(null));
    box.addEventListener("blur", () => this.#look(null));
    box.addEventListener("keydown", (event) => this.#step(event));
  }

  /** Show a target, and a free run of it where there is one. */
  show(label, target, run, decimals) {
    this.#shown = { target, run, decimals };
    this.box.setAttribute("aria-label", label);
    this.#draw();
  }

  #draw() {
    const width = this.box.clientWidth;
    if (!this.#shown || !width) return;
    const { target, run, decimals } = this.#shown;
    const past = target.recent.map((value, n) => ({
      value, point: target.recent_expected[n], lower: target.recent_lower[n], upper: target.recent_upper[n],
    }));
    const ahead = (run?.points ?? []).map((point, n) => ({ point, lower: run.lower[n], upper: run.upper[n] }));
    const y = scaled([...past, ...ahead]);
    const texts = y.lines.map((line) => figures.number(line, y.decimals));
    const left = 12 + 6.6 * Math.max(...texts.map((text) => text.length), 4);
    const inner = width - left - EDGE.right;
    const now = left + PAST_SHARE * inner;
    const dx = (now - left) / (Math.max(past.length, SHORTEST) - 1);
    past.forEach((one, n) => { one.x = now - dx * (past.length - 1 - n); });
    ahead.forEach((one, n) => { one.x = now + ((1 - PAST_SHARE) * inner * (n + 1)) / ahead.length; });
    this.#points = [...past.map((one, n) => ({ ...one, ago: past.length - 1 - n })),
      ...ahead.map((one, n) => ({ ...one, ahead: n + 1 }))];
    setAttributes(this.svg, { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT });
    this.svg.replaceChildren(
      ...grid(y, texts, left, width), ...axis(now, width, left, past.length, ahead.length),
      ...pastLayers(past, y), ...aheadLayers(past.at(-1), ahead, y, now), this.#cursor(y),
    );
    this.#tell(document.activeElement !== this.box); // what has the focus is read out when it changes
  }

  #cursor(y) {
    const layer = drawn("g", { class: "cursor" });
    this.place = () => {
      const one = this.#points[this.#at];
      layer.replaceChildren(...(one ? [
        drawn("path", { d: `M${one.x} ${EDGE.top}V${HEIGHT - EDGE.bottom}` }),
        drawn("circle", { cx: one.x, cy: y(one.value ?? one.point ?? y.middle), r: 3.5 }),
      ] : []));
    };
    this.place();
    return layer;
  }

  #nearest(event) {
    const x = event.clientX - this.box.getBoundingClientRect().left;
    let best = null;
    this.#points.forEach((one, n) => {
      if (best === null || Math.abs(one.x - x) < Math.abs(this.#points[best].x - x)) best = n;
    });
    return best;
  }

  #step(event) {
    const last = this.#points.length - 1;
    const now = this.#points.findIndex((one) => one.ago === 0);
    const from = this.#at ?? now;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#look(Math.min(last, Math.max(0, to)));
  }

  #look(n) {
    if (this.#at === n) return;
    this.#at = n;
    this.place?.();
    this.#tell(true);
  }

  #tell(aloud) {
    const { decimals } = this.#shown ?? {};
    if (decimals === undefined) return;
    const one = this.#points[this.#at];
    const text = one ? told(one, decimals) : summed(this.#points);
    setText(this.said, text);
    if (!aloud) return;
    const now = this.#at ?? this.#points.findIndex((point) => point.ago === 0);
    setAttributes(this.box, {
      "aria-valuemax": Math.max(0, this.#points.length - 1), "aria-valuenow": Math.max(0, now), "aria-valuetext": text,
    });
  }
}

function judged(one) {
  if (![one.value, one.lower, one.upper].every(Number.isFinite)) return null;
  return one.lower <= one.value && one.value <= one.upper;
}

function told(one, decimals) {
  const number = (value) => figures.number(value, decimals);
  const interval = figures.interval(one.lower, one.upper, decimals);
  if (one.ahead) return `${figures.plural(one.ahead, "tick")} ahead: ${number(one.point)}, interval ${interval}`;
  const when = one.ago ? `${figures.plural(one.ago, "commit")} ago` : "Last";
  const inside = judged(one);
  if (inside === null) return `${when}: ${number(one.value)}, nothing had been forecast`;
  return `${when}: ${number(one.value)}, forecast ${number(one.point)}, ${inside ? "inside" : "outside"} ${interval}`;
}

function summed(points) {
  const verdicts = points.map(judged).filter((verdict) => verdict !== null);
  if (!verdicts.length) return "No value shown had a forecast yet.";
  const inside = verdicts.filter(Boolean).length;
  return `${inside} of the last ${figures.plural(verdicts.length, "value")} inside the interval that was forecast.`;
}

/** The vertical scale over all finite numbers, with round grid lines. */
function scaled(points) {
  const seen = points.flatMap((one) => [one.value, one.point, one.lower, one.upper]).filter(Number.isFinite);
  const [least, most] = seen.length ? [Math.min(...seen), Math.max(...seen)] : [0, 1];
  const room = (most - least || Math.abs(most) || 1) * 0.04;
  const [low, high] = [least - room, most + room];
  const y = (value) => EDGE.top + ((HEIGHT - EDGE.top - EDGE.bottom) * (high - value)) / (high - low);
  const rough = (high - low) / LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((times) => times * power >= 0.75 * rough) * power;
  y.lines = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) y.lines.push(n * step);
  y.middle = (low + high) / 2;
  y.decimals = Math.min(9, Math.max(0, (step / power === 2.5 ? 1 : 0) - Math.floor(Math.log10(power) + 0.5)));
  return y;
}

function grid(y, texts, left, width) {
  return y.lines.flatMap((line, n) => [
    drawn("path", { class: "grid", d: `M${left} ${y(line)}H${width - EDGE.right}` }),
    label(texts[n], left - 8, y(line) + 4, "end"),
  ]);
}

function axis(now, width, left, past, ahead) {
  const base = HEIGHT - 6;
  return [
    drawn("path", { class: "now", d: `M${now} ${EDGE.top}V${HEIGHT - EDGE.bottom}` }),
    label("now", now, base, "middle"),
    ...(past > 1 ? [label(figures.plural(past, "commit"), left, base, "start")] : []),
    ...(ahead ? [label(`+${figures.plural(ahead, "tick")}`, width - EDGE.right, base, "end")] : []),
  ];
}

function label(text, x, y, anchor) {
  const element = drawn("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

function pastLayers(past, y) {
  const misses = past.filter((one) => judged(one) === false);
  return [
    drawn("path", { class: "area", d: area(past, y) }),
    drawn("path", { class: "expected", d: line(past, (one) => one.point, y) }),
    drawn("path", { class: "actual", d: line(past, (one) => one.value, y) }),
    ...past.slice(-1).filter((one) => Number.isFinite(one.value)).map((one) =>
      drawn("circle", { class: "newest", cx: one.x, cy: y(one.value), r: 2.6 })),
    ...misses.map((one) => drawn("circle", { class: "miss", cx: one.x, cy: y(one.value), r: 3 })),
  ];
}

function aheadLayers(last, ahead, y, now) {
  if (!ahead.length || !last || !Number.isFinite(last.value)) return [];
  const start = { x: now, point: last.value, lower: last.value, upper: last.value };
  const fan = [start, ...ahead];
  return [
    drawn("path", { class: "fan", d: area(fan, y) }),
    drawn("path", { class: "run", d: line(fan, (one) => one.point, y) }),
    drawn("circle", { class: "dot", cx: ahead[0].x, cy: y(ahead[0].point), r: 2.6 }),
  ];
}

/** A line through what is finite, with gaps where it is not. */
function line(points, of, y) {
  let pen = "M";
  return points.map((one) => {
    const known = Number.isFinite(of(one));
    const part = known ? `${pen}${one.x.toFixed(1)} ${y(of(one)).toFixed(1)}` : "";
    pen = known ? "L" : "M";
    return part;
  }).join("");
}

/** The areas between lower and upper ends, one for each run of points that have both. */
function area(points, y) {
  const runs = [[]];
  for (const one of points) {
    if (Number.isFinite(one.lower) && Number.isFinite(one.upper)) runs.at(-1).push(one);
    else if (runs.at(-1).length) runs.push([]);
  }
  return runs.filter((run) => run.length > 1).map((run) => {
    const down = [...run].reverse();
    return `${line(run, (one) => one.upper, y)}${line(down, (one) => one.lower, y).replace("M", "L")}Z`;
  }).join("");
}
