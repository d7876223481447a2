// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import * as filter from "../../sockbpf/store/page/filter.js";

const ROW = {
  host: "web1", id: "e1", protocol: "tcp", type: "RECV", comm: "nginx", pid: 17, size: 30011,
  local_ip: "192.0.2.1", local_port: 443, remote_ip: "2001:db8::1", remote_port: 50123,
};

test("what is typed becomes conditions", () => {
  for (const [typed, wanted] of [
    ["", []],
    ["  ", []],
    ["443", [["port", "443"]]],
    [":443", [["port", "443"]]],
    ["192.0.2.1", [["ip", "192.0.2.1"]]],
    ["192.0.2.1:443", [["ip", "192.0.2.1"], ["port", "443"]]],
    ["[2001:db8::1]:443", [["ip", "2001:db8::1"], ["port", "443"]]],
    ["10.0.0.0/8", [["cidr", "10.0.0.0/8"]]],
    ["10.0.0.0/33", [["q", "10.0.0.0/33"]]],
    ["TCP recv", [["protocol", "tcp"], ["type", "RECV"]]],
    ["nginx", [["q", "nginx"]]],
    ['"two words"', [["q", "two words"]]],
    ['comm="my server" 80', [["comm", "my server"], ["port", "80"]]],
    ["unit.name=a=b", [["unit.name", "a=b"]]],
    ["comm=", []],
    ["123456", [["q", "123456"]]],
    ['"not closed', [["q", "not closed"]]],
  ])
    assert.deepEqual(filter.conditions(typed), wanted, typed);
});

test("free words are asked for as they were typed", () => {
  for (const [typed, text] of [["", ""], ["udp :53", ""], ["NGI unit=x db", "NGI db"], ['"two words" one', '"two words" one'], ['a"b c"', '"ab c"']])
    assert.equal(filter.freeWords(filter.conditions(typed)), text, typed);
});

test("of more words than the store takes the first are asked for", () => {
  for (const [typed, text] of [["a b c d e f g h i j", "a b c d e f g h"], ['"a b c d" e "f g h i"', '"a b c d" e'], ['"a b c d e f g h i"', ""], [`${"x".repeat(199)} yy`, "x".repeat(199)]])
    assert.equal(filter.freeWords(filter.conditions(typed)), text, typed);
});

test("names that the page itself needs cannot be typed as filters", () => {
  for (const name of ["limit", "cursor", "sort", "from", "to", "q"])
    assert.deepEqual(filter.conditions(`${name}=1`), [["q", "1"]]);
});

test("a typed condition wins over the chosen one of its name", () => {
  const set = { ...filter.NOTHING, text: "udp", protocol: "tcp", type: "SEND" };
  assert.deepEqual(filter.wanted(set), [["protocol", "udp"], ["type", "SEND"]]);
});

test("the time that is looked at", () => {
  const set = (span, from = null, to = null) => ({ ...filter.NOTHING, span, from, to });
  assert.deepEqual(filter.range(set("3600"), 10_000), [6400, null]);
  assert.deepEqual(filter.range(set("all"), 10_000), [null, null]);
  assert.deepEqual(filter.range(set("between", 5, 7), 10_000), [5, 7]);
  assert.deepEqual(filter.parameters(set("between", 5, 7)), [["from", "5"], ["to", "7"]]);
});

test("a row fits what it says", () => {
  for (const [typed, fits] of [
    ["", true],
    ["NGI", true],
    ["web1 nginx", true],
    ["apache", false],
    ["443", true],
    ["0443", true],
    ["50123", true],
    ["44", false],
    ["192.0.2.1:443", true],
    ["2001:0db8:0:0:0:0:0:1", true],
    ["192.0.2.2", false],
    ["192.0.2.0/24", true],
    ["2001:db8::/32", true],
    ["198.51.100.0/24", false],
    ["tcp", true],
    ["udp", false],
    ["pid=17", true],
    ["pid=1", false],
    ["min_size=30011", true],
    ["min_size=30012", false],
    ["nothing=17", false],
  ])
    assert.equal(filter.fits(ROW, filter.conditions(typed)), fits, typed);
});

test("a port that is still being typed fits loosely", () => {
  assert.ok(filter.fits(ROW, [["port", "44"]], true));
  assert.ok(!filter.fits(ROW, [["port", "45"]], true));
});

test("rows without addresses fit no address, and break nothing", () => {
  for (const typed of ["443", "192.0.2.1", "192.0.2.0/24", "::/0"])
    assert.equal(filter.fits({ event: "heartbeat" }, filter.conditions(typed)), false, typed);
});

test("a socket is found by the end that is an address", () => {
  const names = (row) => filter.parametersOf(filter.socketOf(row)).map(([name, value]) => `${name}=${value}`);
  assert.deepEqual(names(ROW), ["host=web1", "protocol=tcp", "type=RECV", "port=443", "ip=2001:db8::1"]);
  assert.ok(names({ ...ROW, remote_ip: "::" }).includes("ip=192.0.2.1"));
  assert.deepEqual(names({ host: "web1", count: 3 }), ["host=web1"]);
  assert.ok(filter.sameSocket(filter.socketOf(ROW), filter.socketOf({ ...ROW, id: "e2", size: 1 })));
  assert.ok(!filter.sameSocket(filter.socketOf(ROW), filter.socketOf({ ...ROW, remote_port: 1 })));
});

test("a link says what is set, and is read back the same", () => {
  assert.equal(filter.fragment(filter.NOTHING), "");
  const set = {
    ...filter.NOTHING, view: "alerts", text: 'comm="a b" & 443', protocol: "tcp", span: "between", from: 1.5, to: 2.25,
    socket: filter.socketOf(ROW),
  };
  assert.deepEqual(filter.fromFragment(filter.fragment(set)), set);
});

test("a link that makes no sense sets nothing, and is bounded", () => {
  for (const text of ["", "view=evil&span=-1&from=x", "socket={", "socket=[1,2]", "span=12345678901", "socket=null"])
    assert.deepEqual(filter.fromFragment(text), { ...filter.NOTHING }, text);
  assert.equal(filter.fromFragment(`text=${"x".repeat(5000)}`).text.length, 200);
  const socket = JSON.stringify(Array(8).fill("y".repeat(5000)));
  assert.ok(filter.fromFragment(`socket=${socket}`).socket.every((each) => each.length === 300));
});

test("a link of an earlier version names no counter, and a rate is found by its counter", () => {
  const seven = ["web1", "tcp", "RECV", "192.0.2.1", "443", "192.0.2.2", "5000"];
  assert.deepEqual(filter.fromFragment(`socket=${JSON.stringify(seven)}`).socket, [...seven, ""]);
  const rate = filter.socketOf({ host: "web1", type: "RATE", protocol: "udp", name: "UdpInErrors" });
  assert.deepEqual(filter.parametersOf(rate), [["host", "web1"], ["protocol", "udp"], ["type", "RATE"], ["name", "UdpInErrors"]]);
});
