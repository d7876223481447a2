// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Both ends of a connection within one host are one incident: of two episodes the one that is the cause leads. */

import { episodeKey } from "./episodes.js";

/** Causes that say that the reader at this end is to blame, and those that say it of the other end. */
const OF_THE_READER = new Set(["reader-stopped", "reader-blocked", "reader-not-reading", "reader-slow", "not-accepted", "peer-closed"]);
const OF_THE_OTHER_END = new Set(["peer-not-reading", "peer-slow", "peer-not-answering"]);
const ENDS = { SEND: "RECV", RECV: "SEND" };

/** How much an end is to blame; as in sockbpf/delivery/incidents.py. */
function rank(row) {
  if (OF_THE_READER.has(row.cause)) return 3;
  if (OF_THE_OTHER_END.has(row.cause)) return 1;
  return row.cause && row.cause !== "unknown" ? 2 : 0;
}

/** Whether one leads over the other; of two that are equal the one that receives does. */
function leads(one, other) {
  return rank(one) === rank(other) ? one.type === "RECV" : rank(one) > rank(other);
}

/** Return the pairs among episodes: a Map from each end that follows to the end that leads. */
export function pairs(rows) {
  const byKey = new Map(rows.map((row) => [episodeKey(row), row]));
  const found = new Map();
  const taken = new Set();
  for (const row of rows) {
    const other = row.peer_id ? byKey.get(episodeKey({ host: row.host, id: row.peer_id })) : undefined;
    if (!other || other.type !== ENDS[row.type] || taken.has(row) || taken.has(other)) continue;
    taken.add(row).add(other);
    if (leads(row, other)) found.set(other, row);
    else found.set(row, other);
  }
  return found;
}
