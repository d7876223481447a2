// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { isIP } from "node:net";
import { test } from "node:test";

import { address, holds, network } from "../../sockbpf/store/page/address.js";

const GOOD = ["0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "1::", "2001:db8::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:192.0.2.1", "FE80::A"];
const BAD = ["", "1", "1.2.3", "1.2.3.256", "1.2.3.4.5", " 1.2.3.4", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "12345::", "g::", "::1.2.3.4:5", "fe80::a%eth0"];

test("what is an address here is one for others too", () => {
  for (const text of GOOD) assert.equal(address(text)?.bits, { 4: 32, 6: 128 }[isIP(text)], text);
  for (const text of BAD) assert.equal(address(text), null, text);
});

test("two spellings of an address are one value", () => {
  for (const [one, other] of [["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"], ["::ffff:192.0.2.1", "::ffff:c000:201"]])
    assert.deepEqual(address(one), address(other));
  assert.equal(address("192.0.2.1").value, 0xc0000201n);
});

test("a network has a prefix that fits its address", () => {
  assert.equal(network("10.0.0.0/8").prefix, 8);
  assert.equal(network("2001:db8::/128").prefix, 128);
  for (const text of ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "x/8"])
    assert.equal(network(text), null, text);
});

test("a network holds what begins as it does, mapped addresses too", () => {
  for (const [net, ip, is] of [
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["0.0.0.0/0", "192.0.2.1", true],
    ["0.0.0.0/0", "2001:db8::1", false],
    ["192.0.2.1/32", "192.0.2.1", true],
    ["2001:db8::/32", "2001:db8:ffff::", true],
    ["2001:db8::/32", "2001:db9::", false],
    ["::/0", "nonsense", false],
  ])
    assert.equal(holds(network(net), ip), is, `${net} ${ip}`);
});
