// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import * as words from "../../sockbpf/store/page/words.js";

/** Run a function on each row's arguments and compare what it returns with the row's last value. */
function rows(run, ...table) {
  for (const row of table) {
    const [wanted, given] = [row.at(-1), row.slice(0, -1)];
    assert.deepEqual(run(...given), wanted, JSON.stringify(given));
  }
}

test("characters that are not seen are written out", () => {
  rows(
    words.visible,
    ["plain ü €", "plain ü €"],
    ["a\nb\0", "a\\u{a}b\\u{0}"],
    ["user\u202egnp.exe", "user\\u{202e}gnp.exe"],
    ["\u200bzero\u2066wide\ufeff", "\\u{200b}zero\\u{2066}wide\\u{feff}"],
    ["lone \ud800", "lone \\u{d800}"],
    [null, ""],
    [undefined, ""],
    [0, "0"],
    [false, "false"],
    [{ a: [1, "x"] }, '{"a":[1,"x"]}'],
  );
});

test("long texts are cut, and then still show every character", () => {
  assert.equal(words.visible("x".repeat(2000)), "x".repeat(2000));
  assert.equal(words.visible("x".repeat(2001)), `${"x".repeat(2000)}…`);
  assert.equal(words.brief("y".repeat(500)).length, 121);
  assert.ok(!words.brief("\u202e".repeat(500)).includes("\u202e"));
});

test("a number is what a value is, and nothing else is one", () => {
  rows(
    words.number,
    ["17", 17],
    [1.5, 1.5],
    ["1e3", 1000],
    [0, 0],
    ["", null],
    [null, null],
    [undefined, null],
    [true, null],
    ["12 bytes", null],
    ["Infinity", null],
    [NaN, null],
  );
});

test("sizes have three digits and a unit", () => {
  rows(
    words.size,
    [0, "0 B"],
    [1025, "ACCEPT", "1,025 conn"],
    [1025, "RECV", "1 KiB"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.50 KiB"],
    [1048576, "1 MiB"],
    [126216, "123 KiB"],
    [15 * 1024 * 1024 + 300 * 1024, "15.3 MiB"],
    [2 ** 62, "4096 PiB"],
    ["20011", "19.5 KiB"],
    ["lots", "lots"],
    [null, ""],
  );
  assert.equal(words.bytes(1048577), "1,048,577 bytes");
  assert.equal(words.bytes("lots"), "lots");
});

test("how many times the threshold", () => {
  rows(words.times, [30, 20, 1.5], ["30", "20", 1.5], [30, 0, null], [30, null, null], ["x", 20, null]);
  rows(words.timesText, [null, ""], [1.5, "1.50×"], [12.34, "12.3×"], [12345.6, "12,346×"]);
});

test("instants are shown in UTC with their microseconds", () => {
  rows(
    words.utc,
    [0, "1970-01-01T00:00:00.000000Z"],
    [1795343123.482913, "2026-11-22T10:25:23.482913Z"],
    ["1795343123.5", "2026-11-22T10:25:23.500000Z"],
    [1e15, "1000000000000000"],
    ["soon", "soon"],
  );
});

test("the clock shows the day only when it is another one", () => {
  const at = (...parts) => new Date(...parts).getTime();
  const now = at(2026, 10, 24, 12, 0, 0);
  rows(
    (...parts) => words.clock(at(...parts) / 1000, now),
    [2026, 10, 24, 9, 5, 7, "09:05:07"],
    [2026, 10, 23, 23, 59, 59, "11-23 23:59:59"],
    [2025, 10, 24, 9, 5, 7, "2025-11-24 09:05:07"],
  );
  assert.equal(words.clock("soon", now), "soon");
});

test("a length of time has its two largest units", () => {
  rows(
    words.lasted,
    [null, ""],
    [-1, "0 s"],
    [0.000011, "11 µs"],
    [0.25, "250 ms"],
    [1.25, "1.3 s"],
    [59.4, "59 s"],
    [60, "1 min 0 s"],
    [3599, "59 min 59 s"],
    [3661, "1 h 1 min"],
    [90000, "1 d 1 h"],
  );
  rows((past) => words.ago(1000 - past, 1000), [0.5, "now"], [59, "59 s ago"], [61, "1 min ago"], [7200, "2 h ago"], [1e6, "11 d ago"]);
});

test("an address of IPv6 has brackets before its port", () => {
  rows(words.endpoint, ["192.0.2.1", 443, "192.0.2.1:443"], ["::1", 443, "[::1]:443"]);
});

test("a socket is its two ends, as far as it has them", () => {
  const local = { local_ip: "192.0.2.1", local_port: 443 };
  rows(
    words.ends,
    [{ ...local, remote_ip: "2001:db8::1", remote_port: 5000 }, "192.0.2.1:443 ↔ [2001:db8::1]:5000"],
    [{ ...local, remote_ip: "0.0.0.0", remote_port: 0 }, "192.0.2.1:443"],
    [{ count: 17 }, "17 sockets"],
    [{ ...local, count: 17 }, "17 sockets"],
    [{ count: 17, remote_ip: "192.0.2.7", remote_port: 5432 }, "17 sockets ↔ 192.0.2.7:5432"],
    [{}, "several sockets"],
  );
});

test("who holds a socket, as far as that is known", () => {
  rows(
    words.owner,
    [{ comm: "nginx", pid: 17 }, "nginx (17)"],
    [{ comm: "nginx" }, "nginx"],
    [{ pid: 17 }, "pid 17"],
    [{}, ""],
    [{ comm: "\u202eevil", pid: 1 }, "\\u{202e}evil (1)"],
  );
});

test("a rate is its counter, and its figures are plain numbers", () => {
  const rate = { type: "RATE", name: "UdpRcvbufErrors", protocol: "udp", size: 2048 };
  assert.equal(words.ends(rate), "UdpRcvbufErrors");
  assert.equal(words.service(rate), "RATE UdpRcvbufErrors");
  assert.equal(words.size(rate.size, rate.type), "2,048");
  assert.equal(words.bytes(rate.size, rate.type), "2,048");
});
