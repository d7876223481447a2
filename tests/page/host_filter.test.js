// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { hasHostCondition, hostParameters, labelCondition, toggled } from "../../sockbpf/store/page/host_filter.js";

test("what is typed becomes parameters of the store", () => {
  for (const [typed, wanted] of [
    ["", []],
    ["web", [["text", "web"]]],
    ["web 01", [["text", "web 01"]]],
    ["443", [["text", "443"]]],
    ["state=silent", [["state", "silent"]]],
    ["state=sil", []],
    ["state=silent state=heard", [["state", "silent"]]],
    ["blind=true version=1.2", [["blind", "true"], ["version", "1.2"]]],
    ["dc=fra1 role=db", [["label", "dc=fra1"], ["label", "role=db"]]],
    ["dc=fra1 dc=fra1", [["label", "dc=fra1"]]],
    ["dc=", []],
    ["toString=a __proto__=b", [["label", "toString=a"], ["label", "__proto__=b"]]],
    ['dc="fra 1"', [["label", "dc=fra 1"]]],
    ["label=state=up", [["label", "state=up"]]],
    ["label=state", []],
    ["role=a=b db", [["label", "role=a=b"], ["text", "db"]]],
    [`x=${"y".repeat(65)}`, []],
    [Array.from({ length: 20 }, (_, n) => `a${n}=1`).join(" "), Array.from({ length: 16 }, (_, n) => ["label", `a${n}=1`])],
  ])
    assert.deepEqual(hostParameters(typed), wanted, typed);
});

test("a press asks for what it names, instead of another of that name, and a second one does not", () => {
  for (const [text, name, value, then] of [
    ["", "state", "silent", "state=silent"],
    ["state=silent", "state", "silent", ""],
    ["web state=silent dc=fra1", "state", "heard", "web dc=fra1 state=heard"],
    ["dc=fra1", "dc", "ams1", "dc=ams1"],
    ["dc=fra1", "role", "two words", 'dc=fra1 role="two words"'],
    ["label=state=up label=host=a", "label", "state=down", "label=host=a label=state=down"],
  ]) {
    assert.equal(toggled(text, name, value), then);
    assert.equal(hasHostCondition(then, name, value), !hasHostCondition(text, name, value));
  }
});

test("a label that is called as a parameter is asked for as a label", () => {
  assert.deepEqual(labelCondition("dc", "fra1"), ["dc", "fra1"]);
  assert.deepEqual(labelCondition("version", "2"), ["label", "version=2"]);
  assert.deepEqual(hostParameters(toggled("", ...labelCondition("version", "2"))), [["label", "version=2"]]);
});
