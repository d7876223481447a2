// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** When the store is asked something again: soon after an alert that may change the answer, and every few seconds. */

/** From an alert to the question; from one question to the next, longer where answers take long. */
const SOON_MS = 20;
const APART_MS = { least: 100, most: 1000, times: 2 };

/** So long an answer is waited for; the store gives a search up sooner. */
const ANSWER_MS = 15_000;

/** When something that began `at` and has just ended may be done again: after `times` as long as it took, within bounds. */
export function againAt(at, { least, most, times }) {
  return at + Math.min(Math.max(least, times * (performance.now() - at)), most);
}

/**
 * Ask by `request(signal)`, which promises an answer, and give it to `show`, with the moment of the question.
 *
 * `tried(promise)` waits for a request and shows why it failed. While the page is hidden it is asked nothing by itself.
 */
export function makeAsked(request, show, tried, everyMs) {
  let notBefore = 0;
  let timer = 0;
  let stop = null;
  let isWanted = false;

  /** Ask at once: who asked before is not answered any more. */
  async function load() {
    clearTimeout(timer);
    timer = 0;
    isWanted = false;
    stop?.abort();
    const own = new AbortController();
    stop = own;
    const at = performance.now();
    const late = setTimeout(() => own.abort(new DOMException("no answer", "TimeoutError")), ANSWER_MS);
    try {
      show(await request(own.signal), at);
    } finally {
      clearTimeout(late);
      if (stop === own) ended(at);
    }
  }

  function ended(at) {
    stop = null;
    notBefore = againAt(at, APART_MS);
    if (isWanted) soon();
  }

  function soon() {
    if (stop) isWanted = true;
    else timer ||= setTimeout(() => tried(load()), Math.max(SOON_MS, notBefore - performance.now()));
  }

  setInterval(() => !document.hidden && soon(), everyMs);
  return { load, soon };
}
