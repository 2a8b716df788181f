// Numbers as text and sparklines as paths. Pure functions.

const MISSING = "–";
const formats = new Map();

function decimal(decimals) {
  if (!formats.has(decimals)) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    formats.set(decimals, new Intl.NumberFormat("en", digits));
  }
  return formats.get(decimals);
}

/** A whole number with thousands separators. */
export function count(value) {
  return Number.isFinite(value) ? decimal(0).format(value) : MISSING;
}

/** A share as a percentage, one decimal. */
export function share(value) {
  return Number.isFinite(value) ? `${decimal(1).format(100 * value)} %` : MISSING;
}

/** A skill as a signed percentage; -0.0 is 0.0. */
export function skill(value) {
  if (!Number.isFinite(value)) return MISSING;
  const percent = Math.round(1000 * value) / 10 || 0;
  const sign = percent > 0 ? "+" : percent < 0 ? "−" : "";
  return `${sign}${decimal(1).format(Math.abs(percent))} %`;
}

/** A value with this many decimals; very large and very small ones with an exponent. */
export function number(value, decimals) {
  if (!Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-6)) return value.toExponential(3);
  return decimal(decimals).format(value).replace("-", "−");
}

/**
 * Decimals for a target: the interval's width shows three digits, else the value shows six.
 * `before` is kept unless it is off by two or more, so that columns do not flicker.
 */
export function decimalsFor(target, before) {
  const width = target.upper - target.lower;
  const size = Math.abs(target.value);
  let wanted = 2;
  if (width > 0) wanted = 2 - Math.floor(Math.log10(width));
  else if (size > 0) wanted = 5 - Math.floor(Math.log10(size));
  wanted = Math.min(9, Math.max(0, wanted));
  return before === undefined || Math.abs(before - wanted) >= 2 ? wanted : before;
}

export const WIDTH = 132;
export const HEIGHT = 28;
const LINE_END = 108;
const FORECAST_X = 122;
const SHORTEST = 24; // fewer values than this do not fill the width

/** Geometry of a sparkline: the line of recent values, the step to the forecast, the interval. */
export function spark({ recent, forecast, lower, upper }) {
  const seen = [...recent, forecast, lower, upper].filter(Number.isFinite);
  const low = Math.min(...seen);
  const range = Math.max(...seen) - low || 1;
  const y = (value) => HEIGHT - 3 - ((HEIGHT - 6) * (value - low)) / range;
  const step = LINE_END / (Math.max(recent.length, SHORTEST) - 1);
  const first = LINE_END - step * (recent.length - 1);
  let line = "";
  let pen = "M";
  recent.forEach((value, at) => {
    const here = () => `${(first + at * step).toFixed(1)} ${y(value).toFixed(1)}`;
    // A stroke of no length is a dot: a value between gaps shows.
    if (Number.isFinite(value)) line += pen === "M" ? `M${here()}h0` : `L${here()}`;
    pen = Number.isFinite(value) ? "L" : "M";
  });
  const last = recent.at(-1);
  const known = Number.isFinite(forecast);
  const ahead = known && Number.isFinite(last)
    ? `M${LINE_END} ${y(last).toFixed(1)}L${FORECAST_X} ${y(forecast).toFixed(1)}` : "";
  const banded = Number.isFinite(lower) && Number.isFinite(upper);
  return {
    line,
    ahead,
    dot: known ? { cx: FORECAST_X, cy: y(forecast).toFixed(1) } : null,
    band: banded ? { y: y(upper).toFixed(1), height: Math.max(1, y(lower) - y(upper)).toFixed(1) } : null,
  };
}

export const BAND = { x: FORECAST_X - 4, width: 8 };

/** Both ends of an interval. */
export function interval(lower, upper, decimals) {
  if (!Number.isFinite(lower) || !Number.isFinite(upper)) return MISSING;
  return `${number(lower, decimals)} – ${number(upper, decimals)}`;
}

/** A duration in the unit that a person would say. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return MISSING;
  if (seconds < 10) return `${decimal(1).format(seconds)} s`;
  if (seconds < 120) return `${decimal(0).format(seconds)} s`;
  if (seconds < 7200) return `${decimal(0).format(seconds / 60)} min`;
  return `${decimal(0).format(seconds / 3600)} h`;
}

/** A count with its noun. */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A tick's time as a person reads it: by its size a number is seconds, milli-, micro- or nanoseconds. */
export function time(ts) {
  if (typeof ts !== "number") return String(ts ?? MISSING);
  const unit = [1e-3, 1, 1e3, 1e6].find((one) => Math.abs(ts) / one < 1e14);
  const date = new Date(ts / unit);
  return Math.abs(ts) < 1e8 || Number.isNaN(date.getTime()) ? String(ts) : date.toISOString().replace("T", " ").slice(0, 23);
}
