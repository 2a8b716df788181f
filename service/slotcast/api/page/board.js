// The live page: one event stream into the tiles, the table, the detail, the slots and the partitions.

import { Detail } from "./detail.js";
import { at, made, show } from "./elements.js";
import { count, plural, share, skill } from "./figures.js";
import { Partitions } from "./partitions.js";
import { Resets } from "./resets.js";
import { SlotMap } from "./slots.js";
import { Stream } from "./stream.js";
import { InstrumentTable } from "./table.js";

const RATE_MS = 5000;
const TYPING_MS = 200;
const wide = matchMedia("(min-width: 1000px)");

const resets = new Resets();
const seen = []; // [time, ticks], the last few seconds
let page = 0;
let total = 0;
let others = null; // other workers, null while nobody knows
let typing = 0;
let opener = null; // what had the focus before the detail was opened

const stream = new Stream(take, lose);
const table = new InstrumentTable(at("board"), () => turnTo(0), open);
const detail = new Detail(close);
const slots = new SlotMap(open);
const partitions = new Partitions((number) => resets.partition(number), (entries) => {
  others = entries;
});

function follow() {
  table.expect();
  stream.watch({
    search: at("search").value.trim(),
    sort: table.sort,
    descending: table.descending,
    offset: page * pageSize(),
    limit: pageSize(),
    slots: at("measure").value,
    instrument: detail.name ?? undefined,
  });
}

function pageSize() {
  return Number(at("size").value);
}

function turnTo(wanted) {
  page = Math.max(0, wanted);
  follow();
}

// Events

function take(event) {
  mark("link", "live", "Live");
  at("lost").hidden = true;
  document.body.classList.remove("old");
  showReadiness(event.readiness);
  showSummary(event.summary);
  total = event.total;
  if (page && page * pageSize() >= total) {
    turnTo(Math.ceil(total / pageSize()) - 1);
    return;
  }
  table.update(event.order, event.instruments);
  showRange();
  showMissing(event);
  detail.take(event.instrument, others === null || others.length > 0);
  slots.show(event.slot_map);
  partitions.show(event.summary.partitions);
  if (detail.name === null && wide.matches && opener === null && table.first) openFirst();
}

/** No more events: `heardAt` is when the last one came, null if none did; `why` what the service says. */
function lose(heardAt, why) {
  document.body.classList.add("old");
  mark("link", "lost", "Disconnected");
  const since = heardAt && new Date(heardAt).toLocaleTimeString("en-GB");
  const seen = since ? `What you see is from ${since}` : "Nothing has come yet";
  show("lost", `Disconnected${why ? `: ${why}` : ""}. ${seen}; trying to reach the service again.`);
  at("lost").hidden = false;
}

function mark(id, is, text) {
  const chip = at(id);
  if (chip.dataset.is === is) return;
  chip.dataset.is = is;
  chip.textContent = text;
  chip.hidden = false;
}

function showReadiness({ ready, reasons }) {
  mark("ready", ready ? "ready" : "unready", ready ? "Ready" : "Not ready");
  at("unready").hidden = ready;
  const said = reasons.join("\n");
  if (at("reasons").dataset.said === said) return;
  at("reasons").dataset.said = said;
  at("reasons").replaceChildren(...reasons.map((reason) => made("li", { textContent: reason })));
}

function showSummary(summary) {
  show("worker", others?.length ? `${summary.worker}, one of ${others.length + 1} workers` : summary.worker);
  show("ticks", count(summary.ticks));
  show("rate", rate(summary.ticks));
  show("forecasts", count(summary.forecasts));
  show("rejects", count(summary.rejects));
  show("repeats", `${plural(summary.repeats, "repeat")} dropped`);
  show("lag", count(summary.lag_ticks));
  show("skill", skill(summary.skill));
  show("coverage", share(summary.coverage));
  show("slots-used", count(summary.slots_used));
  show("slots-all", `of ${count(summary.slots)}`);
  at("gauge").style.width = `${Math.min(100, (100 * summary.slots_used) / summary.slots)}%`;
  show("bundle", summary.bundle.slice(0, 12));
  at("bundle").title = summary.bundle;
  show("known", plural(summary.instruments, "instrument"));
}

function rate(ticks) {
  const now = performance.now();
  seen.push([now, ticks]);
  while (now - seen[0][0] > RATE_MS) seen.shift();
  const [since, before] = seen[0];
  return now - since < 900 ? "\u00a0" : `${count((1000 * (ticks - before)) / (now - since))} per second`;
}

function showRange() {
  const from = page * pageSize();
  const to = Math.min(from + pageSize(), total);
  show("range", total ? `${count(from + 1)}–${count(to)} of ${count(total)}` : "");
  at("back").disabled = page === 0;
  at("on").disabled = to >= total;
  at("moving").hidden = !table.moving;
  at("empty").hidden = total > 0;
  const wanted = at("search").value.trim();
  show("empty-said", wanted ? `No instrument matches “${wanted}”.` : "Waiting for ticks…");
}

/** The list is of all workers; what it lacks is said beside it. */
function showMissing({ missing, faults }) {
  at("missing").hidden = !faults.length;
  const lacking = missing.length ? `Without ${missing.length === 1 ? "partition" : "partitions"} ${missing.join(", ")}: ` : "";
  show("missing", `${lacking}${faults.join("; ")}.`);
}

// The detail

function open(name, focus = true) {
  if (focus) opener = document.activeElement;
  detail.open(name);
  table.mark(name);
  history.replaceState(null, "", `#/${encodeURIComponent(name)}`);
  if (!wide.matches) cover(true);
  if (focus && !wide.matches) at("detail-name").focus();
  follow();
}

function openFirst() {
  open(table.first, false);
}

function close() {
  detail.close();
  table.mark("");
  cover(false);
  history.replaceState(null, "", location.pathname);
  (opener?.isConnected ? opener : at("search")).focus();
  opener ??= at("search"); // closed by hand: do not open the first again
  follow();
}

/** On a narrow page the detail is a sheet: what lies below cannot be reached meanwhile. */
function cover(covered) {
  document.body.classList.toggle("sheet", covered);
  for (const part of document.querySelectorAll(".masthead, .tiles, .explained, .list, #slots, #partitions")) part.inert = covered;
}

/** The name that the address ends with, or "" where it has none that can be read. */
function namedInAddress() {
  if (!location.hash.startsWith("#/")) return "";
  try {
    return decodeURIComponent(location.hash.slice(2));
  } catch {
    return "";
  }
}

function openNamed() {
  const name = namedInAddress();
  if (name) open(name, false);
  else follow();
}

// Controls

at("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => turnTo(0), TYPING_MS);
});
at("size").addEventListener("change", () => turnTo(0));
at("back").addEventListener("click", () => turnTo(page - 1));
at("on").addEventListener("click", () => turnTo(page + 1));
at("measure").addEventListener("change", follow);
at("reset").addEventListener("click", () => resets.instrument(detail.name));
at("reset-all").addEventListener("click", () => resets.all());
addEventListener("hashchange", openNamed);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("sheet")) close();
  if (event.key !== "/" || event.target.matches("input, select")) return;
  event.preventDefault();
  at("search").focus();
});

openNamed();
