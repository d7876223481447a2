// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What the store sums up: what is wrong now, what was, the hosts. Asked for, narrowed by the filter, drawn. */

import { ask } from "./api.js";
import { makeAsked } from "./asked.js";
import { Before, conditionOf } from "./before.js";
import { fits, range, wanted } from "./filter.js";
import { afterFirst, askNow, first } from "./first.js";
import { History, historyParameters, namesOf } from "./history.js";
import { hostParameters, labelCondition, toggled } from "./host_filter.js";
import { Hosts } from "./hosts.js";
import { OF_EPISODES } from "./loaded.js";
import { Now } from "./now.js";
import { html, render } from "./preact.esm.js";

/** From one question to the next, and how much is asked for. */
const EVERY_MS = 5000;
const HOSTS_MS = 10_000;
const HISTORY_MS = 30_000;
const HOSTS = 200;
const MOST_HOSTS = 1000;

/** So many incidents are drawn at once when the page is opened, the rest a moment later. */
const AT_FIRST = 10;

/** Where these numbers of one answer differ from those of another, a host is in another state since. */
const HOST_STATES = ["heard", "silent", "stopped"];

/** "All" times are those of so many seconds: no store keeps more than that by default. */
const ALL_S = 90 * 86_400;

/**
 * Make them in `places`, by name.
 *
 * `controls` has the settings; `choose(episode)` is called with one that is clicked, `answered(now, askedAt)` after each answer of what
 * is wrong now; `tried` waits for a request, `isPaused()` says whether nothing is to be drawn, `shown()` returns the chosen socket.
 */
export function makeViews(places, { controls, choose, answered, tried, isPaused, shown }) {
  const held = { now: null, nowAt: 0, before: null, history: undefined, hosts: null, silenced: [], most: AT_FIRST, mostHosts: HOSTS };
  const narrow = (change) => controls.set({ protocol: "", type: "", ...change });
  const only = (incident) => (incident.hosts > 1 && !incident.remote ? showHosts(incident) : narrow({ text: onlyOf(incident) }));
  const zoom = (from, to) => controls.set({ span: "between", from, to });

  function showNow(found, askedAt) {
    held.now = found;
    held.nowAt = performance.now();
    answered(found, askedAt);
    if (held.hosts && HOST_STATES.some((state) => found.hosts[state] !== held.hosts.counts[state])) asks.hosts.soon();
    draw();
  }

  /** Show the hosts of an incident that has no queues. */
  function showHosts({ kind, labels }) {
    const conditions = [kind === "silent-hosts" ? ["state", "silent"] : ["blind", "true"], ...labels.map((label) => labelCondition(...label.split(/=(.*)/s)))];
    controls.set({ hosts: conditions.reduce((text, [name, value]) => toggled(text, name, value), "") }, "hosted");
    document.getElementById("hosts-title").focus();
  }

  async function askHosts(signal) {
    const by = hostParameters(controls.get().hosts);
    return [by, await json("hosts", [...by, ["limit", String(held.mostHosts)]], signal)];
  }

  async function askHistory(signal) {
    const set = controls.get();
    const names = set.socket && namesOf(set.socket, shown());
    held.names = String(names);
    const by = historyParameters(set, held.now, timesOf(set));
    if (!by) return null;
    let found = { series: [] };
    for (const more of names ? names.map((name) => ["service", name]) : [null]) {
      found = await json("history", more ? [...by, more] : by, signal);
      if (found.series.length) break;
    }
    return { ...found, socket: set.socket, names };
  }

  function moreHosts() {
    held.mostHosts = MOST_HOSTS;
    tried(asks.hosts.load());
  }

  const asks = {
    now: makeAsked(askNow, showNow, tried, EVERY_MS),
    before: makeAsked((signal) => json("timeline", asked(controls.get()), signal), (found) => {
      held.before = found;
      draw();
    }, tried, EVERY_MS),
    history: makeAsked(askHistory, (found) => {
      held.history = found;
      draw();
    }, tried, HISTORY_MS),
    hosts: makeAsked(askHosts, ([by, found]) => {
      held.hosts = found;
      if (!by.length) held.silenced = found.hosts.filter((each) => each.silences && each.trusted && each.state === "heard");
      draw();
    }, tried, HOSTS_MS),
  };

  /** Return whether something is not as it was when this was last drawn: hundreds of incidents are not drawn twice. */
  const drawn = {};
  function isNew(name, ...from) {
    const isSame = drawn[name]?.every((each, place) => each === from[place]);
    drawn[name] = from;
    return !isSame;
  }

  /** Draw what is known; nothing while the page is paused. */
  function draw() {
    if (isPaused()) return;
    if (held.now) drawNow(held.now.at + (performance.now() - held.nowAt) / 1000);
    if (held.before && isNew("before", held.before, held.now)) {
      put(places.before, html`<${Before} timeline=${held.before} over=${servicesOver(held.now)} choose=${(service) => narrow({ text: conditionOf(service) })} zoom=${zoom} />`);
    }
    const { hosts, socket } = controls.get();
    if (held.names !== undefined && held.names !== String(socket && namesOf(socket, shown()))) asks.history.soon(); // its unit is known now
    if (held.history !== undefined && isNew("history", held.history, socket, shown().unit, shown().threshold)) {
      put(places.history, html`<${History} answer=${held.history} socket=${held.history?.socket && String(held.history.socket) === String(socket) && shown()} zoom=${zoom} />`);
    }
    if (held.hosts && isNew("hosts", held.hosts, hosts)) {
      put(places.hosts, html`<${Hosts} answer=${held.hosts} text=${hosts} choose=${(host) => narrow({ text: `host="${host.replaceAll('"', "")}"` })} find=${(text) => controls.set({ hosts: text }, "hosted")} more=${held.mostHosts < MOST_HOSTS && moreHosts} />`);
    }
  }

  function drawNow(at) {
    if (!isNew("now", held.now, held.silenced, held.most, controls.get(), Math.floor(at))) return;
    const list = wanted(controls.get());
    const incidents = held.now.incidents.filter((each) => fits(each, list));
    put(places.now, html`<${Now} now=${{ ...held.now, at, incidents: incidents.slice(0, held.most) }} silenced=${held.silenced} hidden=${held.now.incidents.length - incidents.length} choose=${choose} only=${only} />`);
    if (held.most < incidents.length) setTimeout(draw);
    held.most = Infinity;
  }

  setInterval(() => !document.hidden && draw(), 1000);
  return {
    draw,
    /** Show what was wrong when the page was opened. */
    first: () => tried(first.answer.then((found) => held.now || showNow(found, first.askedAt))),
    /** Ask for all of them that do not depend on the filter. */
    load: () => [asks.now, asks.hosts].forEach((each) => tried(afterFirst.then(each.load))),
    /** Ask again for what depends on the filter. */
    filtered: () => [asks.before.load(), afterFirst.then(asks.history.load)].forEach((each) => tried(each)),
    /** Ask for the history of another service. */
    chosen: () => tried(asks.history.load()),
    /** Ask for other hosts. */
    findHosts() {
      held.mostHosts = HOSTS;
      tried(asks.hosts.load());
      draw();
    },
    /** Ask soon for what an alert may have changed. */
    soon: () => [asks.now, asks.before].forEach((each) => each.soon()),
  };
}

async function json(path, parameters, signal) {
  const answer = await ask(path, parameters, { signal });
  return answer.json();
}

function put(place, view) {
  place.querySelector(":scope > .loading")?.remove();
  render(view, place);
}

/** Return the parameters of a timeline: of the filter what the store finds episodes by. Words narrow what is loaded alone. */
function asked(set) {
  const [from, to] = timesOf(set);
  const names = new Set();
  const list = wanted(set).filter(([name]) => name !== "q" && OF_EPISODES.has(name) && !names.has(name) && names.add(name));
  return [...list, ["from", String(from)], ["to", String(to)]];
}

/** The times between which the store is asked. */
function timesOf(set) {
  const [from, to] = range(set);
  const end = to ?? Math.ceil(Date.now() / 1000);
  return [from ?? end - ALL_S, end];
}

/** The services that are over now, at other ends too, named as the timeline names them. */
function servicesOver(now) {
  const over = (now?.incidents ?? []).filter((each) => each.type !== null && each.state === "over");
  return new Set(over.flatMap((each) => [each.service, ...each.other_services]).map(laneOf));
}

/** The name by which the timeline knows a service. */
function laneOf(service) {
  return service.replace(/^(tcp|udp)?:(?=\d*$)/, "$1 ");
}

/** The field that has the name of a service, by its kind. */
const FIELDS = { unit: "unit", container: "container", counter: "name", process: "comm" };

/** Return the filter that shows the service of an incident alone, or the host that it is about. */
function onlyOf({ kind, host, remote, service, service_kind: named }) {
  if (remote) return remote;
  const [field, name] = kind === "queues" ? [FIELDS[named], service] : ["host", host];
  return field ? `${field}="${name.replaceAll('"', "")}"` : conditionOf(laneOf(service));
}
