// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The worst sockets now: open episodes by size against threshold. */

import { ago, brief, bytes, ends, lasted, owner, service, size, times, timesText, utc, visible } from "./words.js";

/** How many are shown at first, and how many after `All` is pressed. */
const FEW = 5;
const MOST = 50;

/** After so long without an alert of an open episode, its monitor may have ended. */
const QUIET_S = 300;

/** Show the worst of the open episodes. */
export function showWorst(list, open, { all, chosen, choose }) {
  const worst = [...open].sort((one, other) => rank(other) - rank(one) || one.start - other.start).slice(0, all ? MOST : FEW);
  const most = Math.max(1, ...worst.map(rank));
  while (list.children.length > worst.length) list.lastChild.remove();
  while (list.children.length < worst.length) list.append(item(choose));
  for (const [place, episode] of worst.entries()) fill(list.children[place].firstChild, episode, most, chosen(episode));
}

/** Return how many `All` would show, 0 if all are shown already. */
export function allOf(count) {
  return count > FEW ? Math.min(count, MOST) : 0;
}

/** The size against the threshold; with a threshold of 0 the size itself. */
function rank(episode) {
  return times(episode.size, episode.threshold) ?? Number(episode.size);
}

function item(choose) {
  const li = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  for (const name of ["service", "figures", "ends", "who", "since", "bar"]) {
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

function fill(button, episode, most, chosen) {
  const [of, figures, both, who, since, bar] = button.children;
  const now = Date.now() / 1000;
  button.row = episode;
  of.textContent = service(episode);
  who.textContent = [owner(episode), brief(episode.host)].filter(Boolean).join(" · ");
  who.title = [visible(episode.comm), visible(episode.host)].join(" · ");
  figures.textContent = `${size(episode.size, episode.type)} ${timesText(times(episode.size, episode.threshold))}`;
  figures.title = `${bytes(episode.size, episode.type)}, threshold ${bytes(episode.threshold, episode.type)}, peak ${bytes(episode.peak, episode.type)}`;
  bar.style.setProperty("--part", `${(100 * rank(episode)) / most}%`);
  bar.style.setProperty("--threshold", `${Math.min(100, 100 / most)}%`);
  both.textContent = ends(episode);
  const quiet = now - episode.last > QUIET_S;
  since.textContent = `for ${lasted(now - episode.start)}${quiet ? `, last alert ${ago(episode.last)}` : ""}`;
  since.title = `since ${utc(episode.start)}`;
  button.classList.toggle("stale", quiet);
  if (chosen) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}
