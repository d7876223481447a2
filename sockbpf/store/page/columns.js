// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The columns of the table, for episodes and for alerts: one entry for each. */

import { stateOf } from "./episodes.js";
import { ago, brief, bytes, clock, ends, home, lasted, number, owner, service, size, times, timesText, utc, visible, whose, why } from "./words.js";

/**
 * `text` and `title` of a cell; `by`: the value that rows are sorted by; `store`: the name by which the store itself can
 * sort all that it has; `wide`: left out on narrow screens; `below`: a second line, with `belowTitle`; `since`: the time
 * from which the cell goes on counting.
 */
const start = { key: "start", name: "Start", text: (r) => clock(r.start), title: (r) => utc(r.start), by: (r) => number(r.start), store: "start" };
const when = { key: "start", name: "Time", text: (r) => clock(r.timestamp), title: (r) => utc(r.timestamp), by: (r) => number(r.timestamp), store: "start" };
const serviceOf = { key: "service", name: "Type", text: (r) => [r.protocol, r.type].map(brief).join(" "), title: (r) => (r.protocol || r.type ? service(r) : ""), by: serviceOrder };
const socket = { key: "socket", name: "Socket", text: (r) => visible(named(r), 160), title: (r) => visible(named(r)), by: named, chooses: true, grows: true, below: said, belowTitle: why };
const host = { key: "host", name: "Host", text: (r) => brief(r.host), title: (r) => visible(r.host), by: (r) => visible(r.host), wide: true };
const process = { key: "comm", name: "Process", text: owner, title: (r) => [visible(r.comm), whose(r)].filter(Boolean).join(", "), by: (r) => visible(r.comm), wide: true, below: home, belowTitle: whose };
const bytesOf = (key, name, wide) => ({ key, name, text: (r) => size(r[key], r.type), title: (r) => bytes(r[key], r.type), by: (r) => number(r[key]), numeric: true, wide });
const peak = { ...bytesOf("peak", "Peak", false), store: "peak" };
const threshold = bytesOf("threshold", "Threshold", true);
const ratio = (key) => ({ key: "ratio", name: "Ratio", title: (r) => `${bytes(r[key], r.type)}, threshold ${bytes(r.threshold, r.type)}`, text: (r) => timesText(times(r[key], r.threshold)), by: (r) => times(r[key], r.threshold), numeric: true });

const state = {
  key: "state",
  name: "State",
  text: (r) => STATES[stateOf(r)],
  title: (r) => (r.end ? `ended ${utc(r.end)}` : `last alert ${ago(r.last)}, ${utc(r.last)}`),
  by: (r) => number(r.end) ?? Infinity,
  look: (r) => (stateOf(r) === "over" ? "over" : "ended"),
};
const duration = {
  key: "lasted",
  name: "Lasted",
  text: (r) => lasted((r.end ?? Date.now() / 1000) - r.start),
  by: (r) => (r.end ?? Date.now() / 1000) - r.start,
  since: (r) => (r.end ? null : r.start),
  numeric: true,
  wide: true,
};
const event = { key: "event", name: "Event", text: (r) => brief(r.event), by: (r) => visible(r.event), look: (r) => (EVENTS.includes(r.event) ? r.event : "other") };
const STATES = { over: "over", ended: "ended", "not-heard": "not heard of", silent: "host is silent" };
const EVENTS = ["exceeded", "ongoing", "cleared", "heartbeat"];

export const COLUMNS = {
  episodes: [start, state, duration, serviceOf, socket, host, process, peak, threshold, ratio("peak")],
  alerts: [when, event, serviceOf, socket, host, process, bytesOf("size", "Size", false), bytesOf("peak", "Peak", true), threshold, ratio("size")],
};

/** The two ends of a socket; of an object that is not about a socket, its fields. */
function named(row) {
  if (row.type === "RATE" && row.name) return ends(row);
  if (row.local_ip !== undefined || row.count !== undefined || row.local_port !== undefined) return ends(row);
  const rest = Object.entries(row).filter(([name]) => !["event", "timestamp", "host"].includes(name));
  return rest.map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ");
}

/** Why; of the end of an incident that follows, which end leads. */
function said(row) {
  const { leader } = row;
  return leader ? `other end of ${service(leader)}${owner(leader) ? `, ${owner(leader)}` : ""}` : visible(why(row), 160);
}

function serviceOrder(row) {
  return `${visible(row.protocol)} ${String(number(row.local_port) ?? "").padStart(5, "0")} ${visible(row.type)}`;
}

/** Return rows sorted by a column, with `-` before its key the largest first; equal rows the newest first. */
export function sorted(rows, columns, sort) {
  const down = sort.startsWith("-");
  const column = columns.find((each) => each.key === sort.replace(/^-/, "")) ?? columns[0];
  const keyed = rows.map((row) => ({ row, by: column.by(row), at: number(row.start ?? row.timestamp) ?? 0 }));
  keyed.sort((one, other) => (down ? -1 : 1) * compared(one.by, other.by) || other.at - one.at);
  return keyed.map(({ row }) => row);
}

function compared(one, other) {
  if (one === other) return 0;
  if (one === null || one === undefined) return -1;
  if (other === null || other === undefined) return 1;
  return typeof one === "string" ? one.localeCompare(other, "en") : one - other;
}
