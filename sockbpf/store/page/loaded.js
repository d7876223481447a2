/** What the page keeps in memory, all of it bounded, and what an alert that arrives changes of it. */

import { page } from "./api.js";
import { after, alertKey, episodeKey, tellsEpisode } from "./episodes.js";
import { fits, parameters, range, wanted } from "./filter.js";
import { number } from "./words.js";

/** Rows asked for at once, and kept at most, of each kind. */
const PAGE = { episodes: 300, alerts: 100 };
export const KEPT = 3000;
const OPEN_ASKED = 50;

/** The episodes and alerts that are loaded; `next` is how to go on for each, null where that is all. */
export function makeLoaded() {
  const held = { open: new Map(), episodes: new Map(), alerts: new Map() };
  const next = { episodes: null, alerts: null };
  let stop = new AbortController();
  let set = null;

  /** Ask for the first pages of what the settings want; what was asked before is given up. */
  async function load(wantedSet) {
    stop.abort();
    stop = new AbortController();
    set = wantedSet;
    const asked = [first("episodes", stop.signal)];
    if (set.view === "alerts") asked.push(first("alerts", stop.signal));
    await Promise.all(asked);
  }

  async function first(kind, signal) {
    const found = await page(PATHS[kind], asked(kind, set), signal);
    held[kind].clear();
    take(kind, found);
  }

  /** Ask for the next page of what the table shows. */
  async function more() {
    const [kind, { signal }] = [set.view, stop];
    const found = await page(PATHS[kind], next[kind], signal);
    if (!signal.aborted) take(kind, found);
  }

  function take(kind, found) {
    for (const row of found.rows) held[kind].set(KEYS[kind](row), row);
    next[kind] = held[kind].size < KEPT ? found.next : null;
  }

  /** Ask which sockets are over now. */
  async function loadOpen() {
    const found = await page("episodes", [["open", "true"], ["sort", "peak"], ["limit", String(OPEN_ASKED)]]);
    held.open.clear();
    for (const row of found.rows) held.open.set(episodeKey(row), row);
    held.moreOpen = found.next !== null;
  }

  /** Take an alert that arrived. */
  function arrived(alert) {
    if (tellsEpisode(alert)) {
      const key = episodeKey(alert);
      const episode = after(held.open.get(key) ?? held.episodes.get(key), alert);
      if (episode.end === null || episode.end === undefined) held.open.set(key, episode);
      else held.open.delete(key);
      bound("open");
      if (set && fitsSet(episode, episode.start, stateFits)) held.episodes.set(key, episode);
      else held.episodes.delete(key);
      bound("episodes");
    }
    if (set?.view === "alerts" && fitsSet(alert, number(alert.timestamp), eventFits)) held.alerts.set(alertKey(alert), alert);
    bound("alerts");
  }

  function fitsSet(row, at, also) {
    const [from, to] = range(set);
    return (from === null || at >= from || row.end === null) && (to === null || at <= to) && also(row, set) && fits(row, wanted(set));
  }

  /** Give up the oldest beyond what is kept; there is then no going on from the last. */
  function bound(kind) {
    if (held[kind].size <= KEPT) return;
    const time = (row) => number(row.start ?? row.timestamp) ?? 0;
    const oldest = [...held[kind]].sort(([, one], [, other]) => time(one) - time(other)).slice(0, KEPT / 10);
    for (const [key] of oldest) held[kind].delete(key);
    next[kind] = null;
  }

  /** The time from which on no episode is missing, null if none is. */
  function wholeFrom() {
    if (next.episodes === null || set?.sort === "-peak") return null;
    return [...held.episodes.values()].reduce((least, each) => Math.min(least, each.start), Infinity);
  }

  return { wholeFrom, load, loadOpen, more, arrived, held, next };
}

const PATHS = { episodes: "episodes", alerts: "store.json" };
const KEYS = { episodes: episodeKey, alerts: (row) => (row.event === undefined ? `${JSON.stringify(row)}` : alertKey(row)) };

function stateFits(row, set) {
  return set.view !== "episodes" || !set.event || (set.event === "open") === (row.end === null || row.end === undefined);
}

function eventFits(row, set) {
  return !set.event || row.event === set.event;
}

/** Return the parameters that the rows of a kind are asked by. */
function asked(kind, set) {
  const list = [...parameters(set), ["limit", String(PAGE[kind])]];
  if (kind === "alerts") return set.event ? [...list, ["event", set.event]] : list;
  if (set.view === "episodes" && set.event) list.push(["open", String(set.event === "open")]);
  return [...list, ["sort", set.sort === "-peak" ? "peak" : "start"]];
}
