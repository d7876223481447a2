// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Requests to the store. The token is added where there is one, and asked for when the store requires it. */

import { askForToken, token } from "./token.js";

/** The store refused a request; the message is the store's. */
export class Refused extends Error {
  constructor(status, reason, retryAfterS) {
    super(reason);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** Fetch a path of the store with parameters, a list of [name, value]; raises Refused, or TypeError when the store cannot be reached. */
export async function ask(path, parameters = [], { signal, headers = {} } = {}) {
  const query = new URLSearchParams(parameters).toString();
  const url = query ? `${path}?${query}` : path;
  for (;;) {
    const held = token();
    const sent = held ? { ...headers, Authorization: `Bearer ${held}` } : headers;
    const answer = await fetch(url, { signal, headers: sent, cache: "no-store" });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await refused(answer);
    await askForToken(held);
  }
}

/** Return one page of rows, and the parameters of the next page or null. */
export async function page(path, parameters, signal) {
  const answer = await ask(path, parameters, { signal });
  return { rows: await answer.json(), next: nextOf(answer.headers.get("Link")) };
}

async function refused(answer) {
  let reason = `the store answered ${answer.status}`;
  try {
    const problem = await answer.json();
    reason = String(problem.detail || problem.title || reason);
  } catch {
    // no problem document, as of a proxy
  }
  return new Refused(answer.status, reason, Number(answer.headers.get("Retry-After")) || null);
}

/** Only the parameters are taken: behind a proxy the store does not know its own address. */
function nextOf(link) {
  const found = /<([^>]*)>\s*;\s*rel="?next"?/.exec(link ?? "");
  return found ? [...new URL(found[1], document.baseURI).searchParams] : null;
}
