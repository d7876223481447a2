// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What the queues of services were, over or not: the largest of each step of time, and the threshold where one is known. */

import { Advice } from "./advice.js";
import { html, useState } from "./preact.esm.js";
import { SOCKET, sameSocket, socketOf, wanted } from "./filter.js";
import { brief, clock, size, utc, visible } from "./words.js";

/** A lane is drawn in a picture of this size, and stretched. */
const WIDE = 1000;
const HIGH = 48;

/** So many services are drawn; so many are in the table. */
const DRAWN = 6;
const MOST = 20;

/** Of more hosts than these nothing is asked before one of them is chosen. */
const HOSTS = 20;
const STATES = ["heard", "silent", "stopped"];

/** Names of a socket, in the order that its settings have, by which services are narrowed. */
const NAMES = ["host", "protocol", "type"];

/** Return the names that the service of a chosen socket may have in the history, the likeliest first; `row` is what is known of it. */
export function namesOf(socket, row) {
  const unit = sameSocket(socket, socketOf(row)) ? row.unit : null;
  return [unit, socket[SOCKET.indexOf("local_port")]].filter((name) => name).map(String);
}

/** Return the parameters that ask for the history between two times, null where a host is to be chosen first. */
export function historyParameters(set, now, [from, to]) {
  const list = new Map(wanted(set).filter(([name]) => NAMES.includes(name)));
  for (const [place, name] of NAMES.entries()) if (set.socket?.[place]) list.set(name, set.socket[place]);
  if (list.get("type") === "RATE") return null;
  const hosts = STATES.reduce((sum, state) => sum + (now?.hosts[state] ?? 0), 0);
  if (!list.has("host") && hosts > HOSTS) return null;
  return [...list, ["from", String(from)], ["to", String(to)], ["top", String(DRAWN)], ["limit", String(MOST)]];
}

/**
 * An answer to `/history`, null where none was asked for; it is about the service of `socket`, the chosen one, if there is one, by one of
 * `answer.names`. `zoom(from, to)` is called with a step that is pressed.
 */
export function History({ answer, socket, zoom }) {
  const [point, setPoint] = useState(null);
  const [advised, setAdvised] = useState(null);
  if (answer === null) return html`<p class="empty">Choose a host, or a socket, to see what its queues were.</p>`;
  const lanes = answer.series;
  if (!lanes.length && socket) return html`<p class="empty">Nothing is kept of this time by ${answer.names.length ? `the name ${answer.names.map(brief).join(" or ")}` : "a name that is known of the chosen socket"}. The history knows a service by its outermost unit, a user’s programs as that user’s slice, a container by its port, and what has no name of its own as other.</p>`;
  if (!lanes.length) return html`<p class="empty">Nothing is kept of this time. A monitor tells the store that it runs, and those of its destinations of type store, each minute what is in queues, if its config.yaml has no history: {keep: 0s}.</p>`;
  const threshold = socket && socket.condition !== "stalled" ? Number(socket.threshold) || 0 : 0;
  const isOneHost = new Set(lanes.map((each) => each.host)).size === 1;
  return html`
    <div class="lanes history">
      ${lanes.map((lane) => html`
        <p key=${`name ${keyOf(lane)}`} title=${visible(keyOf(lane))}>${nameOf(lane)}${isOneHost ? "" : html`<br />${brief(lane.host)}`}<br /><span class="most">up to ${size(most(lane.size), lane.type)}, ${most(lane.fill)} % full</span> <${Ask} of=${lane} set=${setAdvised} /></p>
        <${Lane} key=${`lane ${keyOf(lane)}`} lane=${lane} answer=${answer} threshold=${threshold} zoom=${zoom} point=${setPoint} />`)}
      <span></span>
      <p class="axis"><time datetime=${utc(answer.from)}>${clock(answer.from)}</time><time datetime=${utc(answer.to)}>${clock(answer.to)}</time></p>
    </div>
    <p class="reading">${reading(point, lanes, answer) ?? `Height: the largest queue${threshold ? "; the line is the threshold of the chosen socket" : ""}. Point at a step for its figures, press it to look at it alone.`}</p>
    ${advised && html`<${Advice} key=${`advice ${keyOf(advised)}`} of=${advised} close=${() => setAdvised(null)} />`}
    <details>
      <summary>As a table</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="Services by their queues">
        <table>
          <thead><tr><th scope="col">Service</th><th scope="col">Host</th><th scope="col" class="number">Largest</th><th scope="col" class="number">Fullest</th><th scope="col" class="number">Sockets</th><th scope="col" class="number">Dropped</th><th scope="col">Thresholds</th></tr></thead>
          <tbody>${answer.services.map((each) => html`<${Row} key=${keyOf(each)} of=${each} set=${setAdvised} />`)}</tbody>
        </table>
      </div>
      <p>From ${clock(answer.services_from)} to ${clock(answer.services_to)}${answer.more ? `; ${answer.more.toLocaleString("en")} more are not shown` : ""}.</p>
    </details>`;
}

function Lane({ lane, answer, threshold, zoom, point }) {
  const wide = WIDE / answer.times.length;
  const end = Math.max(most(lane.size), 1.05 * threshold, 1);
  const at = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * answer.times.length);
  };
  const bars = lane.size.map((each, place) => {
    if (each === null) return "";
    const high = Math.max(1, (HIGH * each) / end);
    return `M${(place * wide).toFixed(2)} ${HIGH}v${-high.toFixed(2)}h${wide.toFixed(2)}V${HIGH}z`;
  });
  const press = (event) => {
    const from = answer.times[at(event)];
    if (from !== undefined && answer.width > 10) zoom(from, from + answer.width);
  };
  return html`
    <svg viewBox="0 0 ${WIDE} ${HIGH}" preserveAspectRatio="none" role="img" aria-label=${spoken(lane)} onClick=${press} onMouseMove=${(event) => point({ key: keyOf(lane), place: at(event) })} onMouseLeave=${() => point(null)}>
      <rect class="room" width=${WIDE} height=${HIGH} />
      <path class="level" d=${bars.join("")} />
      ${threshold > 0 && html`<rect class="threshold" y=${HIGH - (HIGH * threshold) / end} width=${WIDE} height="1.5" />`}
    </svg>`;
}

/** The button that asks for the advice for a service. */
function Ask({ of, set }) {
  return html`<button type="button" class="quiet" aria-label=${`Advice for ${nameOf(of)} of ${brief(of.host)}`} onClick=${() => set({ host: of.host, service: of.service, protocol: of.protocol, type: of.type })}>Advice</button>`;
}

function Row({ of, set }) {
  return html`
    <tr>
      <th scope="row">${nameOf(of)}</th>
      <td>${brief(of.host)}</td>
      <td class="number">${size(of.size, of.type)}</td>
      <td class="number">${of.fill} %</td>
      <td class="number">${of.sockets.toLocaleString("en")}</td>
      <td class="number">${of.drops ? of.drops.toLocaleString("en") : ""}</td>
      <td><${Ask} of=${of} set=${set} /></td>
    </tr>`;
}

function reading(point, lanes, { times, width }) {
  const lane = point && lanes.find((each) => keyOf(each) === point.key);
  if (!lane || times[point.place] === undefined) return null;
  const [bytes, fill, sockets, drops] = ["size", "fill", "sockets", "drops"].map((name) => lane[name][point.place]);
  const when = `${nameOf(lane)}, ${clock(times[point.place])} to ${clock(times[point.place] + width)}`;
  if (bytes === null) return `${when}: all queues empty at each look, or no look`;
  return `${when}: up to ${size(bytes, lane.type)}, ${fill} % full, ${sockets.toLocaleString("en")} not empty${drops ? `, ${drops.toLocaleString("en")} dropped` : ""}`;
}

function spoken(lane) {
  return `${nameOf(lane)}: up to ${size(most(lane.size), lane.type)}, ${most(lane.fill)} % full. The table below says the same of all services.`;
}

function nameOf({ service, protocol, type }) {
  return `${brief(service)} ${brief(protocol)} ${brief(type)}`;
}

function keyOf({ host, service, protocol, type }) {
  return [host, service, protocol, type].join(" ");
}

function most(values) {
  return values.reduce((one, other) => Math.max(one, other ?? 0), 0);
}
