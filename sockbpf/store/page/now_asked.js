// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** When the store is asked what is wrong now, and shown: soon after an alert that may change it, and every few seconds. */

import { ask, page } from "./api.js";
import { Now } from "./now.js";
import { html, render } from "./preact.esm.js";

/** From an alert to the question, from one question to the next at the least, and at the most. */
const SOON_MS = 50;
const APART_MS = 1000;
const EVERY_MS = 5000;
const MOST = 50;
const MEMBERS = 10;

/**
 * Show it in `place`.
 *
 * `choose(episode)` is called with the one that is clicked, `answered(now)` after each answer; `tried` waits for a request.
 */
export function makeNow(place, { choose, answered, tried }) {
  let now = null;
  let answeredAt = 0;
  let askedAt = 0;
  let timer = 0;

  function show() {
    if (!now) return;
    const at = now.at + (performance.now() - answeredAt) / 1000;
    render(html`<${Now} now=${{ ...now, at }} membersOf=${membersOf} choose=${choose} />`, place);
  }

  async function load() {
    clearTimeout(timer);
    timer = 0;
    askedAt = performance.now();
    const answer = await ask("now", [["limit", String(MOST)]]);
    now = await answer.json();
    answeredAt = performance.now();
    if (place.querySelector(".loading")) place.replaceChildren();
    answered(now);
    show();
  }

  /** Ask soon, since something may have changed. */
  function soon() {
    timer ||= setTimeout(() => tried(load()), Math.max(SOON_MS, askedAt + APART_MS - performance.now()));
  }

  setInterval(() => !document.hidden && show(), 1000);
  setInterval(() => !document.hidden && soon(), EVERY_MS);
  return { load, soon };
}

/** Return the worst episodes of an incident. */
async function membersOf(incident) {
  const found = await Promise.all(incident.episodes.slice(0, MEMBERS).map((id) => page("episodes", [["host", incident.host], ["id", id]])));
  return found.flatMap((each) => each.rows);
}
