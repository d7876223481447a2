// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The worst sockets now: open episodes by size against threshold; both ends of a connection within a host are one. */

import { pairs } from "./pairs.js";
import { ago, brief, bytes, ends, home, lasted, owner, service, size, times, timesText, utc, visible, whose, why } from "./words.js";

/** How many are shown at first, and how many after `All` is pressed. */
const FEW = 5;
const MOST = 50;

/** After so long without an alert of an open episode, its monitor may have ended. */
const QUIET_S = 300;

/** Return the incidents among the open episodes: `episode`, the end that leads, and `other`, the one that follows, if any. */
export function incidents(open) {
  const follows = pairs(open);
  const others = new Map([...follows].map(([follower, leader]) => [leader, follower]));
  return open.filter((each) => !follows.has(each)).map((episode) => ({ episode, other: others.get(episode) ?? null }));
}

/** Show the worst of the incidents. */
export function showWorst(list, open, { all, chosen, choose }) {
  const worst = [...open].sort((one, other) => rank(other) - rank(one) || one.episode.start - other.episode.start).slice(0, all ? MOST : FEW);
  const most = Math.max(1, ...worst.map(rank));
  while (list.children.length > worst.length) list.lastChild.remove();
  while (list.children.length < worst.length) list.append(item(choose));
  for (const [place, each] of worst.entries()) {
    fill(list.children[place].firstChild, each, most, chosen(each.episode) || (each.other !== null && chosen(each.other)));
  }
}

/** Return how many `All` would show, 0 if all are shown already. */
export function allOf(count) {
  return count > FEW ? Math.min(count, MOST) : 0;
}

/** The size against the threshold, of the worse end; with a threshold of 0 the size itself. */
function rank({ episode, other }) {
  const of = (one) => times(one.size, one.threshold) ?? Number(one.size);
  return other ? Math.max(of(episode), of(other)) : of(episode);
}

function item(choose) {
  const li = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  for (const name of ["service", "figures", "ends", "who", "since", "why", "other", "bar"]) {
    const part = document.createElement("span");
    part.className = name;
    button.append(part);
  }
  const mark = document.createElement("span");
  mark.className = "mark";
  button.lastChild.append(mark);
  button.addEventListener("click", () => choose(button.row));
  li.append(button);
  return li;
}

function fill(button, incident, most, chosen) {
  const { episode, other } = incident;
  const [of, figures, both, who, since, reason, end, bar] = button.children;
  const now = Date.now() / 1000;
  button.row = episode;
  of.textContent = service(episode);
  who.textContent = [owner(episode), home(episode), brief(episode.host)].filter(Boolean).join(" · ");
  who.title = [visible(episode.comm), whose(episode), visible(episode.host)].filter(Boolean).join(" · ");
  reason.textContent = why(episode);
  end.textContent = other ? `other end: ${[other.type, size(other.size, other.type), owner(other)].filter(Boolean).join(" ")}` : "";
  end.title = other ? why(other) : "";
  figures.textContent = `${size(episode.size, episode.type)} ${timesText(times(episode.size, episode.threshold))}`;
  figures.title = `${bytes(episode.size, episode.type)}, threshold ${bytes(episode.threshold, episode.type)}, peak ${bytes(episode.peak, episode.type)}`;
  bar.style.setProperty("--part", `${(100 * rank(incident)) / most}%`);
  bar.style.setProperty("--threshold", `${Math.min(100, 100 / most)}%`);
  both.textContent = ends(episode);
  const quiet = now - episode.last > QUIET_S;
  since.textContent = `for ${lasted(now - episode.start)}${quiet ? `, last alert ${ago(episode.last)}` : ""}`;
  since.title = `since ${utc(episode.start)}`;
  button.classList.toggle("stale", quiet);
  if (chosen) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}
