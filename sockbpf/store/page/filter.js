// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The filter: what is typed and chosen, as parameters for the store, as a test of a row, and as a link. */

import { address, holds, network } from "./address.js";
import { number } from "./words.js";

/** The settings at first. `text` and `hosts` as typed, times in Unix seconds, `socket` the chosen one or null. */
export const NOTHING = Object.freeze({
  view: "episodes",
  text: "",
  protocol: "",
  type: "",
  event: "",
  span: "900",
  from: null,
  to: null,
  sort: "-start",
  hosts: "",
  socket: null,
});

/** Parameters that the page itself sets: they cannot be typed as a filter. */
const OURS = new Set(["limit", "cursor", "sort", "from", "to", "q"]);
const ANY_IP = new Set(["0.0.0.0", "::"]);

/** Return what is typed as a list of [name, value], all of which a row must fit; free words are named q. */
export function conditions(text) {
  return [...text.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)].flatMap(([token]) => condition(token));
}

function condition(token) {
  const named = /^([A-Za-z_][\w.-]*)=(.*)$/s.exec(token);
  const plain = (named ? named[2] : token).replaceAll('"', "");
  if (plain === "") return [];
  if (named) return OURS.has(named[1]) ? [["q", plain]] : [[named[1], plain]];
  if (network(plain)) return [["cidr", plain]];
  if (address(plain)) return [["ip", plain]];
  const end = /^\[?(.*?)\]?:(\d{1,5})$/.exec(plain);
  if (end && end[1] === "") return [["port", end[2]]];
  if (end && address(end[1])) return [["ip", end[1]], ["port", end[2]]];
  if (/^\d{1,5}$/.test(plain)) return [["port", plain]];
  const word = plain.toLowerCase();
  if (word === "tcp" || word === "udp") return [["protocol", word]];
  if (word === "recv" || word === "send" || word === "rate") return [["type", word.toUpperCase()]];
  return [["q", plain]];
}

/** Return all conditions that a row must fit, except the time. */
export function wanted(set) {
  const typed = conditions(set.text);
  const names = new Set(typed.map(([name]) => name));
  const chosen = [["protocol", set.protocol], ["type", set.type]];
  return [...typed, ...chosen.filter(([name, value]) => value && !names.has(name))];
}

/** Return the chosen time as [from, to] in Unix seconds, null at an open end. */
export function range(set, now = Date.now() / 1000) {
  if (set.span === "between") return [set.from, set.to];
  return set.span === "all" ? [null, null] : [now - Number(set.span), null];
}

/** Return the parameters of a request to the store. */
export function parameters(set) {
  const [from, to] = range(set);
  const asked = wanted(set);
  if (from !== null) asked.push(["from", String(from)]);
  if (to !== null) asked.push(["to", String(to)]);
  return asked;
}

/** So much the store takes of words, those within quotes counted one by one; the rows are tried for all of them. */
const MOST_WORDS = 8;
const MOST_CHARACTERS = 200;

/** Return the first free words of a list of conditions as the store reads them: within quotes several are one. */
export function freeWords(list) {
  const words = list.filter(([name]) => name === "q").map(([, value]) => (/\s/.test(value) ? `"${value}"` : value));
  while (words.length > 1 && !isTaken(words.join(" "))) words.pop();
  return isTaken(words.join(" ")) ? words.join(" ") : "";
}

function isTaken(text) {
  return text.length <= MOST_CHARACTERS && text.trim().split(/ +/).length <= MOST_WORDS;
}

/** Return whether an alert or an episode fits; `loosely`: the first digits of a port are enough. */
export function fits(row, list, loosely = false) {
  return list.every(([name, value]) => fitsOne(row, name, value, loosely));
}

function fitsOne(row, name, value, loosely) {
  if (name === "q") return searched(row).includes(value.toLowerCase());
  if (name === "ip") return same(row.local_ip, value) || same(row.remote_ip, value);
  if (name === "port") {
    const ports = [String(row.local_port ?? ""), String(row.remote_port ?? "")];
    return ports.some((port) => (loosely ? port.startsWith(value) : port === String(Number(value))));
  }
  if (name === "cidr") {
    const net = network(value);
    return net !== null && [row.local_ip, row.remote_ip].some((ip) => ip !== undefined && holds(net, ip));
  }
  if (name === "min_size") return (number(row.size) ?? -1) >= Number(value);
  return row[name] !== undefined && String(row[name]) === value;
}

/** The texts in which free words are searched, the same as in the store. */
function searched(row) {
  const names = [row.comm, row.host, row.local_ip, row.remote_ip, row.name, row.unit, row.container, row.user, row.cause, row.reason];
  return names.map((each) => String(each ?? "").toLowerCase()).join("\n");
}

function same(ip, value) {
  if (ip === undefined || ip === null) return false;
  if (ip === value) return true;
  const [one, other] = [address(String(ip)), address(value)];
  return one !== null && other !== null && one.bits === other.bits && one.value === other.value;
}

/** The fields that name a socket, whatever its episode, or the counter of a rate; a folded alert has those that all of its sockets share. */
export const SOCKET = ["host", "protocol", "type", "local_ip", "local_port", "remote_ip", "remote_port", "name"];

export function socketOf(row) {
  return SOCKET.map((name) => (row[name] === undefined || row[name] === null ? "" : String(row[name])));
}

export function sameSocket(one, other) {
  return one.every((value, place) => value === other[place]);
}

/** Return the parameters that find a socket's alerts, by fields that the store has indexed. */
export function parametersOf(socket) {
  const [host, protocol, type, localIp, localPort, remoteIp, , name] = socket;
  const asked = [["host", host], ["protocol", protocol], ["type", type], ["port", localPort], ["name", name ?? ""]];
  const ip = [remoteIp, localIp].find((each) => each && !ANY_IP.has(each));
  if (ip) asked.push(["ip", ip]);
  return asked.filter(([, value]) => value !== "");
}

/** Return the settings as the fragment of a link, without those that are as at first. */
export function fragment(set) {
  const link = new URLSearchParams();
  for (const [name, usual] of Object.entries(NOTHING)) {
    if (name === "socket") {
      if (set.socket) link.set(name, JSON.stringify(set.socket));
    } else if (set[name] !== usual && set[name] !== null) link.set(name, String(set[name]));
  }
  return link.toString();
}

/** Return the settings in a fragment, without values that are not valid: anybody may write a link. */
export function fromFragment(text) {
  const link = new URLSearchParams(text);
  const set = { ...NOTHING };
  for (const name of ["text", "protocol", "type", "event", "sort", "hosts"]) set[name] = (link.get(name) ?? NOTHING[name]).slice(0, 200);
  if (link.get("view") === "alerts") set.view = "alerts";
  if (/^(\d{1,9}|all|between)$/.test(link.get("span") ?? "")) set.span = link.get("span");
  for (const name of ["from", "to"]) set[name] = number(link.get(name));
  try {
    const socket = JSON.parse(link.get("socket"));
    // A link of an earlier version has no name of a counter.
    const isOne = Array.isArray(socket) && [SOCKET.length - 1, SOCKET.length].includes(socket.length);
    if (isOne) set.socket = SOCKET.map((_, place) => String(socket[place] ?? "").slice(0, 300));
  } catch {
    // no link of this page
  }
  return set;
}
