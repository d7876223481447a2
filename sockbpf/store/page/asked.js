// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** When the store is asked something again: soon after an alert that may change the answer, and every few seconds. */

/** From an alert to the question, and from one question to the next at the least. */
const SOON_MS = 50;
const APART_MS = 1000;

/**
 * Ask by `request(signal)`, which promises an answer, and give it to `show`, with the moment of the question.
 *
 * `tried(promise)` waits for a request and shows why it failed. While the page is hidden it is asked nothing by itself.
 */
export function makeAsked(request, show, tried, everyMs) {
  let askedAt = -APART_MS;
  let timer = 0;
  let stop = new AbortController();

  async function load() {
    clearTimeout(timer);
    timer = 0;
    const at = performance.now();
    askedAt = at;
    stop.abort();
    stop = new AbortController();
    show(await request(stop.signal), at);
  }

  function soon() {
    timer ||= setTimeout(() => tried(load()), Math.max(SOON_MS, askedAt + APART_MS - performance.now()));
  }

  setInterval(() => !document.hidden && soon(), everyMs);
  return { load, soon };
}
