// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The parts put together: when the store is asked, and when the page is drawn. */

import { ask } from "./api.js";
import { makeChosen } from "./chosen.js";
import { againAt } from "./asked.js";
import { conditionOf } from "./before.js";
import { COLUMNS, sorted } from "./columns.js";
import { makeControls } from "./controls.js";
import { alertKey, episodeKey, isOfEpisode, isOfRun } from "./episodes.js";
import { NOTHING, conditions, fits, parameters, range, socketOf, wanted } from "./filter.js";
import { listenToKeys } from "./keys.js";
import { follow } from "./live.js";
import { KEPT, makeLoaded } from "./loaded.js";
import { pairs } from "./pairs.js";
import { makeTable } from "./table.js";
import { makeViews } from "./views.js";
import { ago, ends, lasted, number, service, size, utc } from "./words.js";

/** Times from one drawing to the next, longer where drawing takes long; from one announcement to the next; while nothing comes. */
const DRAW_MS = { least: 50, most: 250, times: 4 };
const SPEAK_MS = 10_000;
const SLIDE_MS = 5_000;

/** How much before and after an episode of another time is shown, seconds. */
const AROUND_S = 60;

/** How long further requests wait for what is wrong now, and for the stream, which must bring the alerts that come after them. */
const STREAM_MS = 1000;

const byId = (id) => document.getElementById(id);
const is = { paused: false, typing: false, busy: true, failed: "", time: "" };
const seen = { arrived: 0, unspoken: 0, unshown: 0, newest: null, worst: null };
const loaded = makeLoaded();
const chosen = makeChosen({ changed: () => draw(), choose, tried });
const controls = makeControls({ typing, changed: load, looked: draw, chose: loadSocket, hosted: () => views.findHosts() });
const table = makeTable(byId("rows-head"), byId("rows-body"), {
  sort: (sort) => controls.set({ sort }, sort === "-peak" || controls.get().sort === "-peak" ? "changed" : "looked"),
  choose,
});
const views = makeViews({ now: byId("now"), before: byId("before"), history: byId("history"), hosts: byId("hosts") }, {
  controls,
  choose,
  answered: (now, askedAt) => {
    drawCounts(now);
    tried(loaded.open(now.open, now.open_truncated, askedAt));
  },
  tried,
  isPaused: () => is.paused,
  shown: chosen.shown,
});

/** Choose the socket of an episode, and the time of that where the one that is shown has nothing of it. */
function choose(row) {
  const [from, to] = range(controls.get());
  const isThen = (from !== null && row.end && row.end < from) || (to !== null && row.start > to);
  if (isThen) controls.set({ socket: socketOf(row), span: "between", from: Math.floor(row.start) - AROUND_S, to: Math.ceil(row.end ?? row.last) + AROUND_S });
  else controls.set({ socket: socketOf(row) }, "chose");
  byId("news").textContent = `Chosen: ${service(row)} ${ends(row)}`;
}

function typing() {
  is.typing = true;
  draw();
}

async function load() {
  const { span, from, to, socket } = controls.get();
  const time = `${span} ${from} ${to}`;
  if (socket && is.time !== time) loadSocket();
  is.time = time;
  is.busy = true;
  views.filtered();
  draw();
  await tried(loaded.load(controls.get()), () => {
    is.typing = false;
    is.busy = false;
  });
}

async function loadSocket() {
  draw();
  views.chosen();
  await tried(chosen.choose(controls.get().socket, controls.get()));
  requestAnimationFrame(() => byId("socket").scrollIntoView({ block: "nearest" }));
}

/** Wait for a request, then draw; show why it failed. */
async function tried(asked, then = () => {}) {
  try {
    await asked;
    is.failed = "";
    then();
  } catch (fault) {
    if (fault.name === "AbortError") return;
    is.busy = false;
    is.failed = fault.status ? `The store says: ${fault.message}` : "The store cannot be reached.";
  }
  draw();
}

/** Whether a drawing is planned, and the moment before which there is none; while the page is hidden nothing is drawn. */
const drawing = { planned: false, notBefore: 0 };

function draw() {
  if (drawing.planned) return;
  drawing.planned = true;
  setTimeout(() => requestAnimationFrame(() => {
    drawing.planned = false;
    const at = performance.now();
    drawAll();
    drawing.notBefore = againAt(at, DRAW_MS);
  }), seen.unshown ? Math.max(0, drawing.notBefore - performance.now()) : 0);
}

function drawAll() {
  seen.unshown = 0;
  drawState();
  const episodes = [...loaded.held.episodes.values()];
  drawTable();
  chosen.show(episodes.filter(chosen.is).sort((one, other) => other.last - one.last)[0]);
  views.draw();
}

/** While a filter is being typed, the loaded rows are filtered here until the store has answered. */
function narrowed(rows) {
  if (!is.typing) return rows;
  const typed = conditions(controls.get().text);
  return rows.filter((row) => fits(row, typed, true));
}

/** Return the rows, of ends that follow with the end that leads as `leader`; a row that stays the same is the same object. */
const markedRows = new WeakMap();
function marked(rows) {
  const follows = pairs(rows);
  return rows.map((row) => {
    const leader = follows.get(row);
    if (!leader) return row;
    if (markedRows.get(row)?.leader !== leader) markedRows.set(row, { ...row, leader });
    return markedRows.get(row);
  });
}

function drawTable() {
  const set = controls.get();
  const columns = COLUMNS[set.view];
  const all = [...loaded.held[set.view].values()];
  const rows = sorted(set.view === "episodes" ? marked(narrowed(all)) : narrowed(all), columns, set.sort);
  table.show(columns, rows, { sort: set.sort, keyOf: set.view === "episodes" ? episodeKey : alertKey, chosen: chosen.is });
  const more = loaded.next[set.view] !== null;
  const column = columns.find((each) => each.key === set.sort.replace(/^-/, ""));
  const part = more && !(column?.store && set.sort.startsWith("-")) ? ", sorted among the loaded rows" : "";
  const full = all.length >= KEPT * 0.9 ? "; the page keeps no more: narrow the filter" : "";
  byId("shown").textContent = is.busy && !rows.length ? "" : `${rows.length}${more ? "+" : ""} rows${part}${full}`;
  byId("more").hidden = !more;
  byId("rows").setAttribute("aria-busy", String(is.busy));
  byId("rows-region").hidden = !rows.length;
  byId("rows-empty").hidden = rows.length > 0;
  drawEmpty(set);
}

function drawEmpty(set) {
  const act = byId("rows-empty-act");
  const filtered = wanted(set).length > 0 || set.event !== "";
  const what = set.view === "episodes" ? "episode" : "alert";
  act.hidden = is.busy || is.failed || (!filtered && set.span === "all");
  if (is.failed) byId("rows-empty-text").textContent = "Nothing to show while the store does not answer: see above.";
  else if (is.busy) byId("rows-empty-text").textContent = "Loading …";
  else if (filtered) byId("rows-empty-text").textContent = `No ${what} fits this filter within this time.`;
  else if (set.span !== "all") byId("rows-empty-text").textContent = `No ${what} within this time.`;
  else byId("rows-empty-text").textContent = `Nothing is stored yet. The monitor sends here with url: ${new URL("alert", document.baseURI)} in its config.yaml; sudo sockbpf check says whether it can see queues.`;
  act.textContent = filtered ? "Clear the filter" : "Look at all times";
  act.onclick = () => (filtered ? byId("clear").click() : controls.set({ span: "all", from: null, to: null }));
}

/** Say how much is over, in the head and in the title. */
function drawCounts(answer) {
  const { over } = answer.episodes;
  byId("open-count").textContent = over.toLocaleString("en");
  document.title = answer.count ? `(${answer.count}) sockbpf` : "sockbpf";
}

function drawState() {
  const times = [...loaded.held.episodes.values()].map((each) => each.last);
  seen.newest = Math.max(seen.newest ?? 0, ...times) || null;
  byId("newest").textContent = seen.newest ? ago(seen.newest) : "–";
  byId("newest").title = seen.newest ? utc(seen.newest) : "";
  byId("arrived-count").textContent = seen.arrived.toLocaleString("en");
  byId("fault").hidden = !is.failed;
  if (byId("fault").textContent !== is.failed) byId("fault").textContent = is.failed;
}

function arrived(alert) {
  seen.arrived += 1;
  seen.unspoken += 1;
  seen.unshown += 1;
  seen.newest = Math.max(seen.newest ?? 0, number(alert.timestamp) ?? 0);
  if (number(alert.size) > number(seen.worst?.size ?? -1)) seen.worst = alert;
  if (isOfRun(alert) || isOfEpisode(alert)) views.soon();
  loaded.arrived(alert);
  chosen.take(alert);
  if (is.paused) byId("pause").textContent = `Resume (${seen.unshown} new)`;
  else draw();
}

function showState(state, text) {
  byId("state").dataset.state = state;
  byId("state-text").textContent = text;
}

function speak() {
  if (!seen.unspoken || is.paused) return;
  const worst = seen.worst ? `, the largest ${service(seen.worst)} ${size(seen.worst.size, seen.worst.type)}` : "";
  byId("news").textContent = `${seen.unspoken} new ${seen.unspoken === 1 ? "alert" : "alerts"}${worst}`;
  seen.unspoken = 0;
  seen.worst = null;
}

function everySecond() {
  if (document.hidden || is.paused) return;
  const now = Date.now() / 1000;
  for (const each of document.querySelectorAll("[data-since]")) each.textContent = lasted(now - Number(each.dataset.since));
  if (seen.newest) byId("newest").textContent = ago(seen.newest);
}

byId("pause").addEventListener("click", pause);
function pause() {
  is.paused = !is.paused;
  byId("pause").setAttribute("aria-pressed", String(is.paused));
  byId("pause").textContent = is.paused ? "Resume" : "Pause";
  if (!is.paused) draw();
}
byId("more").addEventListener("click", () => tried(loaded.more()));
byId("socket-close").addEventListener("click", close);
function close() {
  controls.set({ socket: null }, "chose");
  byId("table-title").focus();
}
byId("socket-service").addEventListener("click", () => {
  const row = chosen.shown();
  const of = row.type === "RATE" ? row.name : row.unit || row.container || row.comm || `${row.protocol} ${row.local_port}`;
  controls.set({ text: conditionOf(String(of)), protocol: "", type: row.type ?? "" });
});
byId("socket-only").addEventListener("click", () => {
  const [host, protocol, type, localIp, localPort, remoteIp, remotePort, name] = controls.get().socket;
  const both = [[localIp, localPort], [remoteIp, remotePort]].filter(([ip, port]) => ip && port !== "0");
  const named = both.map(([ip, port]) => (ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`));
  controls.set({ text: [`host="${host.replaceAll('"', "")}"`, ...(name ? [`name=${name}`] : named.length ? named : [`:${localPort}`])].join(" "), protocol, type });
});
listenToKeys({
  pause,
  close: () => (controls.get().socket ? close() : controls.set({ ...NOTHING, view: controls.get().view, hosts: controls.get().hosts })),
});
for (const [id, type] of [["csv", "text/csv"], ["json", "application/json"]]) byId(id).addEventListener("click", () => tried(download(id, type)));

/** Download the alerts that fit the filter as a file, as many as the store gives at once. */
async function download(name, type) {
  const set = controls.get();
  const answer = await ask("store.json", [...parameters(set), ["limit", "1000"]], { headers: { Accept: type } });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `alerts.${name}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function start() {
  let asked = false;
  let connected;
  const connection = new Promise((resolve) => {
    connected = resolve;
  });
  follow("stream", {
    alert: arrived,
    live: (resumed) => {
      showState("live", "live");
      connected();
      // A resumed stream brings what was missed; after any other all is asked for again.
      if (asked && (!resumed || is.failed)) askAll();
    },
    waiting: (reason) => showState("waiting", `reconnecting: ${reason}`),
  });
  const waited = new Promise((resolve) => {
    setTimeout(resolve, STREAM_MS);
  });
  await Promise.race([Promise.all([connection, views.first()]), waited]);
  asked = true;
  askAll();
  setInterval(everySecond, 1000);
  setInterval(speak, SPEAK_MS);
  setInterval(() => !document.hidden && !is.paused && draw(), SLIDE_MS);
}

function askAll() {
  is.time = "";
  load();
  views.load();
}

start();
