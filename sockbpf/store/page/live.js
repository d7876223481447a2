// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The stream of alerts: read by fetch, since EventSource cannot send a token. It is resumed where it broke off. */

import { ask } from "./api.js";

/** The store sends at least a comment every 15 s: after so long without one the connection is taken for dead. */
const SILENT_MS = 40_000;
const FIRST_MS = 500;
const LONGEST_MS = 30_000;

/**
 * Follow the stream for ever.
 *
 * `on.alert(object)` for each alert, `on.live(resumed)` when the stream is connected, `on.waiting(reason)` when it broke off.
 */
export async function follow(path, on) {
  let last = "";
  let pause = FIRST_MS;
  for (;;) {
    const stop = new AbortController();
    const watch = { timer: 0 };
    const alive = () => {
      clearTimeout(watch.timer);
      watch.timer = setTimeout(() => stop.abort(), SILENT_MS);
    };
    let wait = null;
    try {
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const answer = await ask(path, [], { signal: stop.signal, headers });
      on.live(last !== "");
      pause = FIRST_MS;
      alive();
      for await (const event of events(answer.body, alive)) {
        last = event.id ?? last;
        if (event.type === "alert") on.alert(JSON.parse(event.data));
      }
      on.waiting("the store closed the stream");
    } catch (fault) {
      wait = fault.retryAfterS ? fault.retryAfterS * 1000 : null;
      on.waiting(fault.status ? fault.message : "the store cannot be reached");
    } finally {
      clearTimeout(watch.timer);
      stop.abort();
    }
    await rest(wait ?? pause * (0.5 + Math.random() / 2));
    pause = Math.min(pause * 2, LONGEST_MS);
  }
}

/** Wait, but no longer than until the network is back. */
function rest(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
  });
}

/** Yield the events of a body as { type, data, id }; `alive` is called whenever something arrives, comments too. */
async function* events(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let event = { type: "message", data: [] };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    text += value;
    const lines = text.split(/\r\n|\n|\r(?=.)/s);
    text = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data.length) yield { ...event, data: event.data.join("\n") };
        event = { type: "message", data: [] };
        continue;
      }
      const [, name, rest_] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (name === "event") event.type = rest_ ?? "";
      else if (name === "data") event.data.push(rest_ ?? "");
      else if (name === "id") event.id = rest_ ?? "";
    }
  }
}
