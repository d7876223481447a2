// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** IP addresses and networks, as far as a filter needs them. */

const V4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/** Return an address as { bits, value }, or null if the text is none. */
export function address(text) {
  const four = v4(text);
  if (four !== null) return { bits: 32, value: four };
  const six = v6(text);
  return six === null ? null : { bits: 128, value: six };
}

/** Return a network as { bits, value, prefix }, or null if the text is none. */
export function network(text) {
  const slash = text.indexOf("/");
  const inner = slash < 0 ? null : address(text.slice(0, slash));
  const prefix = text.slice(slash + 1);
  if (inner === null || !/^\d{1,3}$/.test(prefix) || Number(prefix) > inner.bits) return null;
  return { ...inner, prefix: Number(prefix) };
}

/** Return whether an address is in a network; a v4-mapped address counts as IPv4 too. */
export function holds(net, text) {
  const one = address(String(text));
  if (one === null) return false;
  return inside(net, one) || (mapped(one) && inside(net, { bits: 32, value: one.value & 0xffffffffn }));
}

function inside(net, one) {
  const shift = BigInt(net.bits - net.prefix);
  return net.bits === one.bits && net.value >> shift === one.value >> shift;
}

function mapped(one) {
  return one.bits === 128 && one.value >> 32n === 0xffffn;
}

function v4(text) {
  const parts = V4.exec(text)?.slice(1).map(Number);
  if (!parts || parts.some((part) => part > 255)) return null;
  return parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function v6(text) {
  if (!text.includes(":") || !/^[0-9a-f:.]+$/i.test(text)) return null;
  const [head, tail, more] = text.split("::");
  if (more !== undefined) return null;
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  if (before === null || after === null) return null;
  const missing = 8 - before.length - after.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  return [...before, ...Array(missing).fill(0n), ...after].reduce((value, group) => (value << 16n) | group, 0n);
}

function groups(text) {
  if (text === "") return [];
  const found = [];
  const parts = text.split(":");
  for (const [place, part] of parts.entries()) {
    const four = place === parts.length - 1 ? v4(part) : null;
    if (four !== null) found.push(four >> 16n, four & 0xffffn);
    else if (/^[0-9a-f]{1,4}$/i.test(part)) found.push(BigInt(`0x${part}`));
    else return null;
  }
  return found;
}
