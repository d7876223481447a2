// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The rows that the page keeps in memory, up to a bound, and how an alert that arrives changes them. */

import { page } from "./api.js";
import { after, alertKey, episodeKey, isOfEpisode, stateOf } from "./episodes.js";
import { conditions, fits, freeWords, parameters, range, wanted } from "./filter.js";
import { number } from "./words.js";

/** Rows of one page, and rows that are kept at most, of each kind. */
const PAGE = { episodes: 300, alerts: 100 };
export const KEPT = 3000;

/** So many rows are asked for again at once. */
const ASKED_AGAIN = 20;

/** The filters of episodes that the store has besides free words; by others only the loaded rows are filtered. */
export const OF_EPISODES = new Set([
  ...["from", "to", "protocol", "type", "ip", "port", "cidr", "host", "pid", "comm", "min_size", "id", "size"],
  ...["local_ip", "local_port", "remote_ip", "remote_port", "name", "cause", "unit", "container", "user"],
]);

function isAsked(kind, name) {
  return kind === "alerts" ? name !== "q" : name === "q" || OF_EPISODES.has(name);
}

/** The episodes and alerts that are loaded; `next` has the parameters of each next page, null where there is none. */
export function makeLoaded() {
  const held = { episodes: new Map(), alerts: new Map() };
  const next = { episodes: null, alerts: null };
  const heardAt = new Map();
  let stop = new AbortController();
  let set = null;

  /** Ask for the first pages by the settings; requests before that are aborted. */
  async function load(wantedSet) {
    stop.abort();
    stop = new AbortController();
    set = wantedSet;
    const pages = [first("episodes", stop.signal)];
    if (set.view === "alerts") pages.push(first("alerts", stop.signal));
    await Promise.all(pages);
  }

  async function first(kind, signal) {
    const askedAt = performance.now();
    const { word, list } = asked(kind, set);
    // The store finds alerts of a process, a host and a unit by the whole name; parts of names are searched in the loaded rows.
    const names = new Set(list.map(([name]) => name));
    const whole = word ? ["comm", "host", "unit"].filter((name) => !names.has(name)) : [];
    const pages = await Promise.all([[], ...whole.map((name) => [[name, word]])].map((also) => page(PATHS[kind], [...list, ...also], signal)));
    // A page on which the store has not found a word yet is empty, and leads on.
    while (!pages[0].rows.length && pages[0].next) pages[0] = await page(PATHS[kind], pages[0].next, signal);
    // What has arrived since is newer than the answer, which may lack it.
    const newer = [...held[kind]].filter(([key]) => heardAt.get(key) >= askedAt);
    held[kind].clear();
    for (const each of pages) keep(kind, each.rows);
    for (const [key, row] of newer) held[kind].set(key, row);
    next[kind] = nextOf(kind, pages[0]);
  }

  function nextOf(kind, found) {
    return held[kind].size >= KEPT ? null : found.next;
  }

  /** Ask for the next page of what the table shows. */
  async function more() {
    const [kind, { signal }] = [set.view, stop];
    let found = await page(PATHS[kind], next[kind], signal);
    while (!found.rows.length && found.next) found = await page(PATHS[kind], found.next, signal);
    if (signal.aborted) return;
    keep(kind, found.rows);
    next[kind] = nextOf(kind, found);
  }

  function keep(kind, rows) {
    const typed = conditions(set.text);
    const here = typed.filter(([name], place) => name === "q" || !isAsked(kind, name) || typed.findIndex(([other]) => other === name) !== place);
    for (const row of rows) if (fits(row, here)) held[kind].set(KEYS[kind](row), row);
  }

  /** Change the rows by an alert that arrived. */
  function arrived(alert) {
    if (isOfEpisode(alert)) {
      const key = episodeKey(alert);
      const episode = after(held.episodes.get(key), alert);
      heard(key);
      put(key, episode);
      bound("episodes");
    }
    if (set?.view === "alerts" && fitsSet(alert, number(alert.timestamp), eventFits)) {
      heard(KEYS.alerts(alert));
      held.alerts.set(KEYS.alerts(alert), alert);
    }
    bound("alerts");
  }

  function heard(key) {
    heardAt.delete(key);
    heardAt.set(key, performance.now());
    if (heardAt.size > 2 * KEPT) heardAt.delete(heardAt.keys().next().value);
  }

  function put(key, episode) {
    if (set && fitsSet(episode, episode.start, stateFits)) held.episodes.set(key, episode);
    else held.episodes.delete(key);
  }

  /**
   * Change the states of episodes by what the store calls open, all that it has unless `isPart`; it was asked at `askedAt`.
   *
   * What no alert has ended and the store does not call open any more is asked for again, and what it calls open though an
   * alert seems to have ended it.
   */
  async function open(rows, isPart, askedAt) {
    const states = new Map(rows.map((row) => [episodeKey(row), row.state]));
    const gone = [];
    for (const [key, row] of held.episodes) {
      const [state, known] = [states.get(key), stateOf(row)];
      if (heardAt.get(key) >= askedAt || (known === "ended" && state === undefined)) continue;
      if (known === "ended" || (state === undefined && !isPart)) gone.push([key, row]);
      else if (state !== undefined && state !== known) put(key, { ...row, state });
    }
    await Promise.all(gone.slice(0, ASKED_AGAIN).map(async ([key, { host, id }]) => {
      const [row] = (await page("episodes", [["host", host], ["id", id]])).rows;
      if (heardAt.get(key) >= askedAt) return;
      if (!row) held.episodes.delete(key);
      else if (held.episodes.has(key)) put(key, row);
    }));
  }

  function fitsSet(row, at, also) {
    const [from, to] = range(set);
    return (from === null || at >= from || row.end === null) && (to === null || at <= to) && also(row, set) && fits(row, wanted(set));
  }

  /** Drop the oldest rows beyond those that are kept; then there is no next page. */
  function bound(kind) {
    if (held[kind].size <= KEPT) return;
    const time = (row) => number(row.start ?? row.timestamp) ?? 0;
    const oldest = [...held[kind]].sort(([, one], [, other]) => time(one) - time(other)).slice(0, KEPT / 10);
    for (const [key] of oldest) held[kind].delete(key);
    next[kind] = null;
  }

  return { load, more, arrived, open, held, next };
}

const PATHS = { episodes: "episodes", alerts: "store.json" };
const KEYS = { episodes: episodeKey, alerts: (row) => (row.event === undefined ? `${JSON.stringify(row)}` : alertKey(row)) };

function stateFits(row, set) {
  return set.view !== "episodes" || !set.event || (set.event === "open") === (stateOf(row) === "over");
}

function eventFits(row, set) {
  return !set.event || row.event === set.event;
}

/** Return the parameters of a request for rows of a kind; of alerts also the word that only whole names have. */
function asked(kind, set) {
  const all = parameters(set);
  const word = all.find(([name]) => name === "q")?.[1] ?? "";
  const known = all.filter(([name], place) => name !== "q" && isAsked(kind, name) && all.findIndex(([other]) => other === name) === place);
  const list = [...known, ["limit", String(PAGE[kind])]];
  if (kind === "alerts") return { word, list: set.event ? [...list, ["event", set.event]] : list };
  const words = freeWords(all);
  if (words) list.push(["text", words]);
  if (set.view === "episodes" && set.event) list.push(["open", String(set.event === "open")]);
  return { word: "", list: [...list, ["sort", set.sort === "-peak" ? "peak" : "start"]] };
}
