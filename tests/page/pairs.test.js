// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { after } from "../../sockbpf/store/page/episodes.js";
import { pairs } from "../../sockbpf/store/page/pairs.js";

const READER = { host: "web1", id: "r", type: "RECV", cause: "reader-stopped", peer_id: "s" };
const SENDER = { host: "web1", id: "s", type: "SEND", cause: "peer-not-reading", peer_id: "r" };
const found = (...rows) => [...pairs(rows)].map(([follower, leader]) => `${leader.id} leads ${follower.id}`).join(" ");

test("the end that is the cause leads, whichever names the other", () => {
  const [reader, sender] = [READER, SENDER].map((row) => ({ ...row, peer_id: null }));
  for (const rows of [[READER, SENDER], [SENDER, READER], [reader, SENDER], [sender, READER], [READER, sender]])
    assert.equal(found(...rows), "r leads s");
  assert.equal(found({ ...READER, cause: "unknown" }, SENDER), "s leads r");
  assert.equal(found({ ...READER, cause: undefined }, { ...SENDER, cause: null }), "r leads s");
});

test("others are no pair", () => {
  for (const other of [{ host: "web2" }, { type: "RECV" }, { id: "x", peer_id: "y" }, { type: "ACCEPT" }])
    assert.equal(found(READER, { ...SENDER, ...other }), "", JSON.stringify(other));
  assert.equal(found(READER), "");
});

test("of three ends two are a pair", () => {
  assert.equal(found(READER, SENDER, { ...SENDER, id: "s2" }), "r leads s");
});

test("an alert says the latest cause, and what was said of one is not said of another", () => {
  const alert = { host: "web1", id: "r", event: "exceeded", timestamp: 1000, duration: 0, type: "RECV", size: 3, threshold: 1, peak: 3 };
  const first = after(undefined, { ...alert, cause: "reader-slow", confidence: "high", reason: "it reads slowly", unit: "a.service" });
  assert.deepEqual([first.cause, first.reason, first.unit], ["reader-slow", "it reads slowly", "a.service"]);
  const next = after(first, { ...alert, event: "ongoing", timestamp: 1010, cause: "unknown", peer_id: "s" });
  assert.deepEqual([next.cause, next.reason, next.confidence, next.unit, next.peer_id], ["unknown", undefined, undefined, "a.service", "s"]);
  const last = after(first, { ...alert, event: "ongoing", timestamp: 1010 });
  assert.deepEqual([last.cause, last.reason], ["reader-slow", "it reads slowly"]);
});
