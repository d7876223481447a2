// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The chosen socket: its facts, and its size over time, live. */

import { page } from "./api.js";
import { makeAround } from "./around.js";
import { commandOf } from "./command.js";
import { copy } from "./copy.js";
import { alertKey } from "./episodes.js";
import { parametersOf, range, sameSocket, socketOf } from "./filter.js";
import { ago, brief, bytes, clock, ends, number, owner, service, size, utc, visible, why } from "./words.js";

/** Alerts of one page; further pages are asked for only while too few alerts are of the chosen socket itself. */
const PAGE = 300;
const PAGES = 4;
const ENOUGH = 30;

/** Alerts of one socket that are kept at most. */
const KEPT = 1000;

const byId = (id) => document.getElementById(id);

/** Make the panel; `changed()` is called when there is something new to show, `choose` and `tried` are those of around.js. */
export function makeChosen({ changed, choose: chooseOther, tried }) {
  const around = makeAround(byId("socket-around"), { choose: chooseOther, tried });
  let making = null;
  let series = null;
  let socket = null;
  let alerts = new Map();
  let shown = {};
  let stop = new AbortController();
  byId("socket").querySelector("details").addEventListener("toggle", changed);

  /** Choose a socket, null for none, within the time of the settings. */
  async function choose(wanted, set) {
    socket = wanted;
    stop.abort();
    stop = new AbortController();
    alerts = new Map();
    byId("socket").hidden = socket === null;
    if (socket === null) return;
    const { signal } = stop;
    making ??= madeSeries().catch((fault) => {
      making = null; // the next choice tries again
      throw fault;
    });
    series = await making;
    if (signal.aborted) return;
    const [from, to] = range(set);
    let next = [...parametersOf(socket), ["limit", String(PAGE)]];
    if (from !== null) next.push(["from", String(from)]);
    if (to !== null) next.push(["to", String(to)]);
    for (let count = 0; next && count < PAGES && alerts.size < ENOUGH; count += 1) {
      const found = await page("store.json", next, signal);
      for (const alert of found.rows) take(alert);
      next = found.next;
    }
    changed();
  }

  /** Keep an alert, from the store or just arrived, if it is about the chosen socket; return whether it is. */
  function take(alert) {
    if (socket === null || !sameSocket(socket, socketOf(alert))) return false;
    alerts.set(alertKey(alert), alert);
    if (alerts.size > KEPT) alerts.delete(alerts.keys().next().value);
    return true;
  }

  function show(episode) {
    if (socket === null) return;
    const known = [...alerts.values()];
    const newest = known.reduce((one, other) => (number(one?.timestamp) > number(other.timestamp) ? one : other), null);
    const row = { ...rowOf(socket), ...newest, ...episode };
    byId("socket-why").textContent = why(row);
    byId("socket-why").hidden = !why(row);
    byId("socket-name").textContent = `${service(row)}  ${ends(row)}`;
    shown = row;
    const command = commandOf(row);
    byId("socket-command").hidden = !command;
    const code = byId("socket-command").querySelector("code");
    if (code.textContent !== command) code.textContent = command;
    fillFacts(byId("socket-facts"), facts(row, newest));
    around.show(row);
    byId("series").hidden = known.length === 0;
    byId("series-empty").hidden = known.length > 0;
    byId("series-empty").textContent = "The store has no alert of this socket within this time. Choose a longer time.";
    if (known.length) series?.show(known);
  }

  byId("socket-copy").addEventListener("click", () => copy(byId("socket-command").querySelector("code"), byId("socket-copy")));
  return { choose, take, show, shown: () => shown, is: (row) => socket !== null && sameSocket(socket, socketOf(row)) };
}

/** Load what draws the chart, which is large, once a socket is chosen. */
async function madeSeries() {
  const { makeSeries } = await import("./series.js");
  return makeSeries(byId("series"), byId("series-reading"), byId("series-rows"));
}

/** An alert's fields from a socket's name. */
function rowOf([host, protocol, type, localIp, localPort, remoteIp, remotePort, name]) {
  if (name) return { host, protocol, type, name };
  const row = { host, protocol, type, local_port: localPort };
  return localIp ? { ...row, local_ip: localIp, remote_ip: remoteIp, remote_port: remotePort } : row;
}

function facts(row, alert) {
  return [
    ["Host", brief(row.host), visible(row.host)],
    ["Process", owner(row), visible(row.comm)],
    ["Unit", brief(row.unit), visible(row.unit)],
    ["Container", both(row.container_name, row.container), visible(row.container_name)],
    ["Cgroup", brief(row.cgroup), visible(row.cgroup)],
    ["User", brief(row.user), visible(row.user)],
    ["Command line", brief(row.cmdline), visible(row.cmdline)],
    ["Cause", both(row.cause, row.confidence), visible(row.evidence)],
    ["Now", row.end === null ? size(row.size, row.type) : "", bytes(row.size, row.type)],
    ["Peak", size(row.peak, row.type), bytes(row.peak, row.type)],
    ["Threshold", size(row.threshold, row.type), bytes(row.threshold, row.type)],
    ["Limit", size(row.limit, row.type), bytes(row.limit, row.type)],
    ["Full", number(row.fill) === null ? "" : `${row.fill} %`, "as the kernel counts, which is more than payload"],
    ["Crossed", number(row.crossings) === null ? "" : `${size(row.crossings, "RATE")} times since the alert before`, ""],
    ["Dropped", number(row.drops) ? size(row.drops, "RATE") : "", ""],
    ["Condition", brief(row.condition), ""],
    ["Severity", brief(row.severity), ""],
    ["Rule", alert && row.type !== "RATE" ? brief(alert.rule) || "default" : "", visible(alert?.rule)],
    ["Start", number(row.start) === null ? "" : clock(row.start), utc(row.start)],
    ["End", row.end ? clock(row.end) : row.end === null ? "still over" : "", row.end ? utc(row.end) : ""],
    ["Last alert", number(row.last) === null ? "" : ago(row.last), utc(row.last)],
    ["Namespace", both(row.netns_name, row.netns), visible(row.netns_name)],
    ["Seen by", brief(row.mode), ""],
    ["In common", brief(row.fold), visible(row.fold)],
    ["Worst", brief(row.worst), visible(row.worst)],
    ["Episode", brief(row.id), visible(row.id)],
  ].filter(([, text]) => text);
}

function both(one, other) {
  return [brief(one), brief(other)].filter(Boolean).join(", ");
}

/** Change only what differs, so that a text which the operator has selected stays selected. */
function fillFacts(list, pairs) {
  while (list.children.length > pairs.length) list.lastChild.remove();
  for (const [place, [name, text, title]] of pairs.entries()) {
    if (!list.children[place]) {
      const pair = document.createElement("div");
      pair.append(document.createElement("dt"), document.createElement("dd"));
      list.append(pair);
    }
    const [dt, dd] = list.children[place].children;
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== text) dd.textContent = text;
    dd.title = title;
  }
}
