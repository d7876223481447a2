// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** How an alert changes its episode, by the same rules as in the store. */

import { number } from "./words.js";

const OF_THE_SOCKET = [
  ...["host", "id", "protocol", "type", "local_ip", "local_port", "remote_ip", "remote_port"],
  ...["pid", "comm", "netns", "count", "fold", "worst", "name"],
];
const LATEST = ["unit", "container", "user", "peer_pid", "peer_comm", "peer_id"];
const OF_A_CAUSE = ["cause", "confidence", "reason"];

/** What names an episode, and an alert: the same however often the alert comes. */
export function episodeKey(row) {
  return `${row.host}\n${row.id}`;
}

export function alertKey(row) {
  return [row.host, row.id, row.event, row.seq ?? row.timestamp].join("\n");
}

/** Return whether an object is about an episode: the store keeps other objects too, and what monitors tell of themselves. */
export function isOfEpisode(row) {
  return isThere(row.id) && isThere(row.type) && number(row.timestamp) !== null;
}

/** Return whether an object says that a run of a monitor has begun or ended: then other episodes are over than were told. */
export function isOfRun(row) {
  return row.event === "started" || row.event === "stopped";
}

/** What an open episode is: over, or not heard of, or its host is silent. One that has just been told of is over. */
export function stateOf(row) {
  if (row.end !== null && row.end !== undefined) return "ended";
  return row.state === "not-heard" || row.state === "silent" ? row.state : "over";
}

function isThere(value) {
  return value !== undefined && value !== null;
}

function picked(names, value) {
  return Object.fromEntries(names.map((name) => [name, value(name)]));
}

/** Return the episode after an alert; `known` is how it stood before, undefined if it was not known. */
export function after(known, alert) {
  const at = number(alert.timestamp);
  const began = at - (number(alert.duration) ?? 0);
  const ended = alert.event === "cleared" ? at : null;
  const peak = Math.max(number(alert.peak) ?? 0, number(alert.size) ?? 0, known?.peak ?? 0);
  if (known === undefined) {
    const told = [...OF_THE_SOCKET, ...LATEST, ...OF_A_CAUSE];
    const made = Object.fromEntries(told.filter((name) => name in alert).map((name) => [name, alert[name]]));
    return { ...made, start: began, end: ended, last: at, size: number(alert.size) ?? 0, peak, threshold: number(alert.threshold), alerts: 1 };
  }
  if (at <= known.last && ended === null) return known; // a repetition, or an older alert
  return {
    ...known,
    start: Math.min(known.start, began),
    end: ended ?? known.end,
    last: Math.max(at, known.last),
    size: number(alert.size) ?? known.size,
    peak,
    threshold: number(alert.threshold) ?? known.threshold,
    pid: known.pid ?? alert.pid,
    comm: known.comm ?? alert.comm,
    ...picked(LATEST, (name) => alert[name] ?? known[name]),
    ...picked(OF_A_CAUSE, (name) => (alert.cause === undefined ? known[name] : alert[name])),
    state: undefined,
    alerts: (known.alerts ?? 0) + (at > known.last ? 1 : 0),
  };
}
