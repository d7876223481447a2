// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import { after, alertKey, episodeKey, isOfEpisode, isOfRun } from "../../sockbpf/store/page/episodes.js";

const ALERT = {
  host: "web1", id: "e1", seq: 5, event: "exceeded", timestamp: 1000, duration: 0, protocol: "tcp", type: "RECV",
  local_ip: "192.0.2.1", local_port: 443, remote_ip: "192.0.2.9", remote_port: 5000, size: 30, threshold: 20, peak: 30,
};

test("the first alert makes the episode", () => {
  const made = after(undefined, ALERT);
  assert.deepEqual([made.start, made.end, made.last, made.size, made.peak, made.threshold, made.alerts], [1000, null, 1000, 30, 30, 20, 1]);
  assert.equal(made.local_port, 443);
  assert.ok(!("event" in made));
});

test("one that is first heard of while it lasts began before", () => {
  assert.equal(after(undefined, { ...ALERT, event: "ongoing", timestamp: 1010, duration: 7 }).start, 1003);
});

test("later alerts raise the peak, and the last word counts", () => {
  const grown = after(after(undefined, ALERT), { ...ALERT, event: "ongoing", timestamp: 1010, size: 50, peak: 90, comm: "nginx", pid: 17 });
  assert.deepEqual([grown.size, grown.peak, grown.last, grown.alerts, grown.comm], [50, 90, 1010, 2, "nginx"]);
  const ended = after(grown, { ...ALERT, event: "cleared", timestamp: 1020, size: 0, peak: 90 });
  assert.deepEqual([ended.size, ended.peak, ended.end, ended.alerts, ended.comm], [0, 90, 1020, 3, "nginx"]);
});

test("an alert that comes twice or late changes nothing", () => {
  const known = after(after(undefined, ALERT), { ...ALERT, event: "ongoing", timestamp: 1010, size: 50 });
  assert.equal(after(known, ALERT), known);
  assert.equal(after(known, { ...ALERT, event: "ongoing", timestamp: 1010 }), known);
});

test("its end is taken even if it comes late", () => {
  const known = after(undefined, { ...ALERT, event: "ongoing", timestamp: 1010 });
  assert.equal(after(known, { ...ALERT, event: "cleared", timestamp: 1005 }).end, 1005);
});

test("an object that is about no episode is known", () => {
  assert.ok(isOfEpisode(ALERT));
  const heartbeat = { event: "heartbeat", host: "web1", seq: 5, timestamp: 1000, run: "r" };
  const started = { ...heartbeat, event: "started", id: "r" };
  for (const other of [{}, { ...ALERT, id: null }, heartbeat, started, { ...ALERT, timestamp: "soon" }]) assert.ok(!isOfEpisode(other));
  assert.deepEqual([started, { ...started, event: "stopped" }, heartbeat, ALERT].map(isOfRun), [true, true, false, false]);
});

test("keys tell episodes of two hosts apart, and alerts of one episode", () => {
  assert.notEqual(episodeKey(ALERT), episodeKey({ ...ALERT, host: "web2" }));
  assert.equal(episodeKey(ALERT), episodeKey({ ...ALERT, seq: 6, event: "ongoing" }));
  assert.notEqual(alertKey(ALERT), alertKey({ ...ALERT, seq: 6 }));
  assert.notEqual(alertKey(ALERT), alertKey({ ...ALERT, event: "cleared" }));
});
