// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Sizes, times and names as text. Values from outside are shown only through `visible`. */

/** Characters that cannot be seen, or that change the direction of the text: they are shown by their number. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** The longest text of one value in a cell, and in a title, in characters. */
const SHORT = 120;
const LONG = 2000;

/** Return any value as a text in which every character can be seen. */
export function visible(value, longest = LONG) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text;
  return cut.replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** The same, short enough for a cell. */
export function brief(value) {
  return visible(value, SHORT);
}

/** Return the number that a value is, or null: a posted object may say anything. */
export function number(value) {
  if (value === "" || value === null || value === undefined || typeof value === "boolean") return null;
  const read = Number(value);
  return Number.isFinite(read) ? read : null;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes as KiB, MiB, …; three digits. Of type ACCEPT a number of connections, of RATE the plain number. */
export function size(value, type) {
  let left = number(value);
  if (left === null) return brief(value);
  if (type === "RATE") return left.toLocaleString("en");
  if (type === "ACCEPT") return `${left.toLocaleString("en")} conn`;
  let unit = 0;
  while (Math.abs(left) >= 1024 && unit < UNITS.length - 1) {
    left /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || left >= 100 ? 0 : left >= 10 ? 1 : 2;
  return `${left.toFixed(digits).replace(/\.0+$/, "")} ${UNITS[unit]}`;
}

/** The exact bytes, or connections of type ACCEPT, or the number of a rate, for a title. */
export function bytes(value, type) {
  const read = number(value);
  if (type === "RATE" && read !== null) return size(read, type);
  return read === null ? visible(value) : `${read.toLocaleString("en")} ${type === "ACCEPT" ? "connections" : "bytes"}`;
}

/** How many times the threshold a size is; null for a threshold of 0. */
export function times(value, threshold) {
  const [over, under] = [number(value), number(threshold)];
  if (over === null || !under) return null;
  return over / under;
}

export function timesText(ratio) {
  if (ratio === null) return "";
  return `${ratio >= 100 ? Math.round(ratio).toLocaleString("en") : ratio.toFixed(ratio >= 10 ? 1 : 2)}×`;
}

const two = (n) => String(n).padStart(2, "0");

/** Unix seconds as local time, with the date unless it is today. */
export function clock(seconds, now = Date.now()) {
  const at = dateOf(seconds);
  if (at === null) return brief(seconds);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const today = new Date(now);
  if (at.toDateString() === today.toDateString()) return time;
  const day = `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.getFullYear() === today.getFullYear() ? `${day} ${time}` : `${at.getFullYear()}-${day} ${time}`;
}

/** Unix seconds as exact UTC, with the microseconds. */
export function utc(seconds) {
  const at = dateOf(seconds);
  if (at === null) return visible(seconds);
  const micro = Math.round((number(seconds) - Math.floor(number(seconds))) * 1e6);
  return `${at.toISOString().slice(0, 19)}.${String(Math.min(micro, 999999)).padStart(6, "0")}Z`;
}

function dateOf(seconds) {
  const read = number(seconds);
  if (read === null) return null;
  const at = new Date(Math.floor(read) * 1000);
  return Number.isNaN(at.getTime()) || at.getFullYear() > 9999 || at.getFullYear() < 0 ? null : at;
}

/** A length of time in its two largest units. */
export function lasted(seconds) {
  const read = number(seconds);
  if (read === null) return "";
  if (read < 0) return "0 s";
  if (read < 0.001) return `${Math.round(read * 1e6)} µs`;
  if (read < 1) return `${Math.round(read * 1000)} ms`;
  if (read < 60) return `${read.toFixed(read < 10 ? 1 : 0)} s`;
  const whole = Math.round(read);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** How long ago, in one unit. */
export function ago(seconds, now = Date.now() / 1000) {
  const past = now - seconds;
  if (past < 1) return "now";
  if (past < 60) return `${Math.floor(past)} s ago`;
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return `${Math.floor(past / 86400)} d ago`;
}

/** An address with its port, brackets around IPv6. */
export function endpoint(ip, port) {
  const name = brief(ip);
  return `${name.includes(":") ? `[${name}]` : name}:${brief(port)}`;
}

/** The two ends of a socket; one end where it is not connected; of a folded alert how many, and the end they share; of a rate its counter. */
export function ends(row) {
  if (row.type === "RATE" && row.name) return brief(row.name);
  const count = number(row.count);
  if (count !== null || row.local_ip === undefined || row.local_ip === null) {
    const sockets = count === null ? "several sockets" : `${count} sockets`;
    return number(row.remote_port) ? `${sockets} ↔ ${endpoint(row.remote_ip, row.remote_port)}` : sockets;
  }
  const local = endpoint(row.local_ip, row.local_port);
  if (!number(row.remote_port)) return local;
  return `${local} ↔ ${endpoint(row.remote_ip, row.remote_port)}`;
}

/** The service of an alert or an episode: protocol, local port, type; of a rate its counter. */
export function service(row) {
  if (row.type === "RATE") return [row.type, row.name].map(brief).join(" ");
  return `${brief(row.protocol)} ${brief(row.local_port)} ${brief(row.type)}`;
}

/** Why a queue is over, as a sentence; else its cause as a word. Empty where that is not known. */
export function why(row) {
  if (row.reason !== undefined && row.reason !== null) return visible(row.reason);
  return row.cause && row.cause !== "unknown" ? brief(row.cause) : "";
}

/** Whose a socket is beyond its process: unit, container, user. */
export function whose(row) {
  return [row.unit, row.container, row.user].filter((each) => each !== undefined && each !== null && each !== "").map(brief).join(", ");
}

/** The unit of the owner, else its container. */
export function home(row) {
  return brief(row.unit || row.container);
}

/** The process at the other end of a connection within the host. */
export function peer(row) {
  return row.peer_pid ? owner({ comm: row.peer_comm, pid: row.peer_pid }) : "";
}

/** The process that holds the socket, where it is known. */
export function owner(row) {
  if (row.comm === undefined || row.comm === null) return row.pid ? `pid ${brief(row.pid)}` : "";
  return row.pid ? `${brief(row.comm)} (${brief(row.pid)})` : brief(row.comm);
}

/** A number with its noun: "1 socket", "40 sockets". */
export function counted(value, noun) {
  return `${Number(value).toLocaleString("en")} ${noun}${Number(value) === 1 ? "" : "s"}`;
}
