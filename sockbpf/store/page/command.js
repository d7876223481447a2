// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The command that shows a queue on its host: for a shell, so of numbers and addresses alone. */

import { address } from "./address.js";
import { number } from "./words.js";

const COUNTER = /^[A-Za-z0-9]{1,80}$/;
const ANY = new Set(["0.0.0.0", "::"]);

/** Return the command, "" where none can be said. */
export function commandOf(row) {
  if (row.type === "RATE") return COUNTER.test(row.name ?? "") ? `nstat -az ${row.name}` : "";
  const flag = { tcp: "t", udp: "u" }[row.protocol];
  const [local, remote] = [end(row.local_ip, row.local_port), end(row.remote_ip, row.remote_port)];
  if (!flag || (!local && !remote)) return "";
  if (row.type === "ACCEPT") return local ? `ss -ltn 'src ${local}'` : "";
  const ends = [local && `src ${local}`, remote && `dst ${remote}`].filter(Boolean);
  return `ss -${flag}anmpie '${ends.join(" and ")}'`;
}

/** An end as `ss` filters by it: without the address where that is any. */
function end(ip, port) {
  const at = number(port);
  if (!Number.isInteger(at) || at < 1 || at > 65535) return "";
  const text = String(ip ?? "");
  if (!text || ANY.has(text) || address(text) === null) return `:${at}`;
  return text.includes(":") ? `[${text}]:${at}` : `${text}:${at}`;
}
