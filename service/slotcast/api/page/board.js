// The live page: one event stream into the summary above and the table of instruments below.

import { count, share, skill } from "./figures.js";
import { InstrumentTable } from "./table.js";

const SILENCE_MS = 12000; // the service sends something at least every 5 s
const RETRY_MS = 2000;
const RATE_MS = 5000;
const RESYNC_MS = 30000;

const at = (id) => document.getElementById(id);
const table = new InstrumentTable(at("board"));
const seen = []; // [time, ticks], the last few seconds
let source = null;
let partitions = [];
let filled = false;
let heardAt = Date.now();
let syncedAt = 0;

function connect() {
  source?.close();
  source = new EventSource("events?limit=1000");
  source.onopen = () => {
    filled = false;
    seen.length = 0;
    table.renew();
  };
  source.onmessage = (message) => take(JSON.parse(message.data));
  source.onerror = () => {
    lose();
    // The browser tries again by itself, except after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
}

function take({ summary, readiness, instruments }) {
  heardAt = Date.now();
  mark("link", "live", "Live");
  at("lost").hidden = true;
  document.body.classList.remove("old");
  showReadiness(readiness);
  showSummary(summary);
  table.update(instruments);
  if (!filled) {
    filled = true;
    syncedAt = heardAt;
    table.forgetOld();
  }
  // Instruments can leave with their partition; only a fresh stream tells which.
  const gone = filled && summary.instruments < table.size;
  if (gone && heardAt - syncedAt > RESYNC_MS) connect();
}

function lose() {
  if (document.body.classList.contains("old")) return;
  document.body.classList.add("old");
  mark("link", "lost", "Disconnected");
  const since = new Date(heardAt).toLocaleTimeString("en-GB");
  at("lost").textContent =
    `Disconnected. What you see is from ${since}; trying to reach the service again.`;
  at("lost").hidden = false;
}

function mark(id, is, text) {
  const chip = at(id);
  if (chip.dataset.is === is) return;
  chip.dataset.is = is;
  chip.textContent = text;
  chip.hidden = false;
}

function plural(number, noun, rest = "") {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"} ${rest}`.trim();
}

function show(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function showReadiness({ ready, reasons }) {
  mark("ready", ready ? "ready" : "unready", ready ? "Ready" : "Not ready");
  at("unready").hidden = ready;
  const said = reasons.join("\n");
  if (at("reasons").dataset.said === said) return;
  at("reasons").dataset.said = said;
  at("reasons").replaceChildren(...reasons.map((reason) => element("li", reason)));
}

function showSummary(summary) {
  show("ticks", count(summary.ticks));
  show("rate", rate(summary.ticks));
  show("forecasts", count(summary.forecasts));
  show("rejects", count(summary.rejects));
  show("repeats", plural(summary.repeats, "repeat", "dropped"));
  show("lag", count(summary.lag_ticks));
  show("skill", skill(summary.skill));
  show("coverage", share(summary.coverage));
  show("slots", `${count(summary.slots_used)} / ${count(summary.slots)}`);
  at("gauge").style.width = `${(100 * summary.slots_used) / summary.slots}%`;
  show("bundle", summary.bundle.slice(0, 12));
  at("bundle").title = summary.bundle;
  show("known", plural(summary.instruments, "instrument"));
  partitions = summary.partitions;
  showPartitions();
}

function rate(ticks) {
  const now = performance.now();
  seen.push([now, ticks]);
  while (now - seen[0][0] > RATE_MS) seen.shift();
  const [since, before] = seen[0];
  return now - since < 900 ? "\u00a0" : `${count((1000 * (ticks - before)) / (now - since))} per second`;
}

function showPartitions() {
  at("partitions").hidden = partitions.length === 0;
  if (!at("partitions").open) return;
  const lines = partitions.map((partition) => {
    const line = document.createElement("tr");
    const { committed, end, watermark, instruments } = partition;
    const head = line.appendChild(element("th", String(partition.partition)));
    head.scope = "row";
    line.append(element("td", partition.phase));
    line.append(...[committed, end, watermark, instruments].map((n) => element("td", count(n))));
    line.append(element("td", share(partition.replay_done)));
    return line;
  });
  at("partitions").querySelector("tbody").replaceChildren(...lines);
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

table.onDraw = ({ from, to, total, known, moving }) => {
  show("range", total ? `${count(from)}–${count(to)} of ${count(total)}` : "");
  at("back").disabled = from <= 1;
  at("on").disabled = to >= total;
  at("sorted").hidden = !moving;
  at("empty").hidden = total > 0;
  show("empty", known ? `No instrument matches “${at("search").value}”.` : "Waiting for the first ticks…");
};

at("partitions").addEventListener("toggle", showPartitions);
at("search").addEventListener("input", (event) => table.search(event.target.value));
at("size").addEventListener("change", (event) => table.resize(Number(event.target.value)));
at("back").addEventListener("click", () => table.turn(-1));
at("on").addEventListener("click", () => table.turn(1));
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    at("search").focus();
  }
});

// A connection can be open and dead: a stopped process says nothing and closes nothing.
setInterval(() => {
  if (Date.now() - heardAt < SILENCE_MS) return;
  lose();
  if (source.readyState === EventSource.OPEN) connect();
}, 2000);

connect();
