// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { adviceParameters, bytesOf, toldBy } from "../../sockbpf/store/page/advice.js";

test("sizes are read as settings write them", () => {
  for (const [text, bytes] of [["64KiB", 65_536], ["1 MiB", 2 ** 20], ["2gib", null], ["2GiB", 2 ** 31], ["100", 100], [" 7B ", 7], ["64kib", null], ["", null], ["x", null], ["-1", null], ["1e9", null], ["1.5MiB", null]])
    assert.equal(bytesOf(text), bytes, text);
});

test("what the reader does not say is not asked for", () => {
  const of = { host: "web1", service: "a&b", protocol: "tcp", type: "SEND" };
  const asked = (typed) => Object.fromEntries(adviceParameters(of, { days: 7, threshold: "", hold: "", ...typed }, 1_000_000.5));
  const plain = asked({});
  assert.deepEqual([plain.service, plain.to, plain.from], ["a&b", "1000001", String(1_000_001 - 7 * 86_400)]);
  assert.equal(plain.utc_offset, String(-60 * new Date(1_000_000_500).getTimezoneOffset()));
  assert.ok(!("threshold" in plain) && !("hold" in plain));
  assert.deepEqual([asked({ threshold: "64KiB", hold: "0" }).threshold, asked({ threshold: "64KiB", hold: "0" }).hold], ["65536", "0"]);
});

test("a count is said with its bounds", () => {
  const told = (least, seen, most) => toldBy({ least, seen, most, exact: least === most }).join(", ");
  assert.equal(told(0, 0, 0), "never, exact");
  assert.equal(told(1, 1, 1), "once, exact");
  assert.equal(told(1234, 1234, 1234), "1,234 times, exact");
  assert.equal(told(2, 5, 9), "about 5 times, 2 to 9");
  assert.equal(told(0, 0, 3), "never that a look shows, 0 to 3");
  assert.equal(told(4, 4, null), "about 4 times, 4 or more");
});
