// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** From what is typed and chosen to what the store is asked, to which alerts that arrive fit, and to the link. */

import { address, holds, network } from "./address.js";
import { number } from "./words.js";

/** What the operator has set. `text` as typed, times in Unix seconds, `socket` the chosen one or null. */
export const NOTHING = Object.freeze({
  view: "episodes",
  text: "",
  protocol: "",
  type: "",
  event: "",
  span: "86400",
  from: null,
  to: null,
  sort: "-start",
  socket: null,
});

/** Names that the page itself needs: nobody types them as a filter. */
const OURS = new Set(["limit", "cursor", "sort", "from", "to", "q"]);
const ANY_IP = new Set(["0.0.0.0", "::"]);

/** Return what is typed as a list of [name, value], all of which must fit; free words are named q. */
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
  if (word === "recv" || word === "send") return [["type", word.toUpperCase()]];
  return [["q", plain]];
}

/** Return all that must fit, but the time. */
export function wanted(set) {
  const typed = conditions(set.text);
  const names = new Set(typed.map(([name]) => name));
  const chosen = [["protocol", set.protocol], ["type", set.type]];
  return [...typed, ...chosen.filter(([name, value]) => value && !names.has(name))];
}

/** Return the time that is looked at as [from, to] in Unix seconds, null where it is open. */
export function range(set, now = Date.now() / 1000) {
  if (set.span === "between") return [set.from, set.to];
  return set.span === "all" ? [null, null] : [now - Number(set.span), null];
}

/** Return the parameters that the store is asked by. */
export function parameters(set) {
  const [from, to] = range(set);
  const asked = wanted(set);
  if (from !== null) asked.push(["from", String(from)]);
  if (to !== null) asked.push(["to", String(to)]);
  return asked;
}

/** Say whether an alert or an episode fits; `loosely` while a port is still being typed. */
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

/** The texts that free words are looked for in. */
function searched(row) {
  return [row.comm, row.host, row.local_ip, row.remote_ip].map((each) => String(each ?? "").toLowerCase()).join("\n");
}

function same(ip, value) {
  if (ip === undefined || ip === null) return false;
  if (ip === value) return true;
  const [one, other] = [address(String(ip)), address(value)];
  return one !== null && other !== null && one.bits === other.bits && one.value === other.value;
}

/** What names a socket, apart from its episodes; a fold's has no addresses. */
export const SOCKET = ["host", "protocol", "type", "local_ip", "local_port", "remote_ip", "remote_port"];

export function socketOf(row) {
  return SOCKET.map((name) => (row[name] === undefined || row[name] === null ? "" : String(row[name])));
}

export function sameSocket(one, other) {
  return one.every((value, place) => value === other[place]);
}

/** Return the parameters that find a socket's alerts, by what the store has indexed, finest first. */
export function parametersOf(socket) {
  const [host, protocol, type, localIp, localPort, remoteIp] = socket;
  const asked = [["host", host], ["protocol", protocol], ["type", type], ["port", localPort]];
  const ip = [remoteIp, localIp].find((each) => each && !ANY_IP.has(each));
  if (ip) asked.push(["ip", ip]);
  return asked.filter(([, value]) => value !== "");
}

/** Write what is set as the fragment of a link; what is not set is left out. */
export function fragment(set) {
  const said = new URLSearchParams();
  for (const [name, usual] of Object.entries(NOTHING)) {
    if (name === "socket") {
      if (set.socket) said.set(name, JSON.stringify(set.socket));
    } else if (set[name] !== usual && set[name] !== null) said.set(name, String(set[name]));
  }
  return said.toString();
}

/** Read a fragment; what makes no sense is left out, since anybody may write a link. */
export function fromFragment(text) {
  const said = new URLSearchParams(text);
  const set = { ...NOTHING };
  for (const name of ["text", "protocol", "type", "event", "sort"]) set[name] = (said.get(name) ?? NOTHING[name]).slice(0, 200);
  if (said.get("view") === "alerts") set.view = "alerts";
  if (/^(\d{1,9}|all|between)$/.test(said.get("span") ?? "")) set.span = said.get("span");
  for (const name of ["from", "to"]) set[name] = number(said.get(name));
  try {
    const socket = JSON.parse(said.get("socket"));
    if (Array.isArray(socket) && socket.length === SOCKET.length) set.socket = socket.map((each) => String(each).slice(0, 300));
  } catch {
    // not ours
  }
  return set;
}
