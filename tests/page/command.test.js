// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { commandOf } from "../../sockbpf/store/page/command.js";

const ROW = { protocol: "tcp", type: "SEND", local_ip: "10.0.0.5", local_port: 443, remote_ip: "2001:db8::1", remote_port: 51234 };

test("a queue is shown by ss, a listener by its backlog, a counter by nstat", () => {
  assert.equal(commandOf(ROW), "ss -tanmpie 'src 10.0.0.5:443 and dst [2001:db8::1]:51234'");
  assert.equal(commandOf({ ...ROW, protocol: "udp", local_ip: "0.0.0.0", remote_ip: "0.0.0.0", remote_port: 0 }), "ss -uanmpie 'src :443'");
  assert.equal(commandOf({ ...ROW, type: "ACCEPT", local_ip: "::" }), "ss -ltn 'src :443'");
  assert.equal(commandOf({ type: "RATE", name: "UdpRcvbufErrors" }), "nstat -az UdpRcvbufErrors");
});

test("what came from outside is no part of a command unless it is an address, a port or a counter", () => {
  assert.equal(commandOf({ ...ROW, local_ip: "'; rm -rf /", remote_ip: "$(x)", remote_port: "1; x" }), "ss -tanmpie 'src :443'");
  for (const evil of [{ local_port: 70000, remote_port: -1 }, { protocol: "tcp; x" }, { type: "RATE", name: "a; b" }, { type: "RATE" }])
    assert.equal(commandOf({ ...ROW, ...evil }), "");
});
