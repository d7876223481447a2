// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { conditionOf } from "../../sockbpf/store/page/before.js";
import { conditions } from "../../sockbpf/store/page/filter.js";

test("a service of the timeline is found by the filter", () => {
  for (const [service, wanted] of [
    ["nginx.service", [["unit", "nginx.service"]]],
    ["0123456789ab", [["container", "0123456789ab"]]],
    ["UdpRcvbufErrors", [["name", "UdpRcvbufErrors"]]],
    ["nginx: worker", [["comm", "nginx: worker"]]],
    ["udp 53", [["protocol", "udp"], ["port", "53"]]],
    ['a "b', [["comm", "a b"]]],
  ])
    assert.deepEqual(conditions(conditionOf(service)), wanted);
});
