// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The first question to the store, what is wrong now: asked while most of the page is still being loaded. */

import { ask } from "./api.js";

/** How many incidents are asked for, and which episodes are open. */
const PARAMETERS = [["limit", "200"], ["open", "true"]];

/** Ask what is wrong now. */
export async function askNow(signal) {
  const answer = await ask("now", PARAMETERS, { signal });
  return answer.json();
}

/** The first answer, and when it was asked for. */
export const first = { askedAt: performance.now(), answer: askNow() };

/** Further questions about all hosts wait for it so long: a store of many hosts would answer all of them later. */
const WAIT_MS = 3000;
const waited = new Promise((resolve) => {
  setTimeout(resolve, WAIT_MS);
});
export const afterFirst = Promise.race([first.answer.catch(() => {}), waited]); // who needs it shows why it failed
