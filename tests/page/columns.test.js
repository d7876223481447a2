// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { COLUMNS, sorted } from "../../sockbpf/store/page/columns.js";

const ROWS = [
  { id: "a", start: 30, last: 31, end: null, peak: 5, threshold: 5, comm: "b" },
  { id: "b", start: 10, last: 11, end: 12, peak: 70, threshold: 10 },
  { id: "c", start: 20, last: 21, end: 25, peak: 70, threshold: 35, comm: "a" },
];
const order = (sort) => sorted(ROWS, COLUMNS.episodes, sort).map((row) => row.id).join("");

test("rows are sorted by a column, equal ones newest first", () => {
  assert.equal(order("start"), "bca");
  assert.equal(order("-start"), "acb");
  assert.equal(order("-peak"), "cba");
  assert.equal(order("-ratio"), "bca");
  assert.equal(order("comm"), "bca");
  assert.equal(order("nothing"), "bca");
});

test("every column says something of any row, and of an empty one", () => {
  for (const columns of Object.values(COLUMNS))
    for (const column of columns)
      for (const row of [...ROWS, {}, { timestamp: "x", start: "y", event: "\u202e", worst: { a: 1 } }]) {
        assert.equal(typeof column.text(row), "string", column.key);
        assert.equal(typeof (column.title?.(row) ?? ""), "string", column.key);
        assert.ok(!column.text(row).includes("\u202e"), column.key);
      }
});
