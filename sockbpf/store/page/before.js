// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What was: for how long the queues of each service were over, in steps of time, as the store has summed it up. */

import { html } from "./preact.esm.js";
import { brief, clock, counted, lasted, utc, visible } from "./words.js";

/** A lane is drawn in a picture of this size, and stretched. So many queues over at once fill it. */
const WIDE = 1000;
const HIGH = 20;
const FULL = 8;
const TICKS = 4;

/**
 * The lanes of an answer to `/timeline`.
 *
 * `over` has the services that are over now; `choose(service)` is called with the one that is clicked, `zoom(from, to)`
 * with the times of a step.
 */
export function Before({ timeline, over, choose, zoom }) {
  const lanes = timeline.services;
  const rest = total(timeline.others.open_s);
  if (!lanes.length) return html`<p class="empty">${timeline.partial ? "Of this time not all is known." : "No queue was over in this time."}</p>`;
  return html`
    <div class="lanes">
      ${lanes.map((lane) => html`
        <button type="button" class="quiet" key=${`name ${lane.service}`} title=${visible(lane.service)} onClick=${() => choose(lane.service)}>${brief(lane.service)}${over.has(lane.service) ? html` <b class="over">● over now</b>` : ""}</button>
        <${Lane} key=${`lane ${lane.service}`} lane=${lane} timeline=${timeline} zoom=${zoom} />`)}
      <span></span>
      <${Axis} timeline=${timeline} />
    </div>
    <p class="reading">Height: how many queues were over at once. Press a step to look at it alone, a name to look at that service alone.${rest > 0 ? ` Further services: over for ${lasted(rest)} in all.` : ""}${timeline.partial ? ` Before ${clock(timeline.known_from)} not all is known for this filter.` : ""}</p>
    <details>
      <summary>As a table</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="Services">
        <table>
          <thead><tr><th scope="col">Service</th><th scope="col" class="number">Over for</th><th scope="col" class="number">Began</th><th scope="col" class="number">Fullest</th><th scope="col" class="number">Worst</th><th scope="col">Now</th></tr></thead>
          <tbody>${lanes.map((lane) => html`<${Row} key=${lane.service} lane=${lane} isOver=${over.has(lane.service)} choose=${choose} />`)}</tbody>
        </table>
      </div>
    </details>`;
}

function Lane({ lane, timeline, zoom }) {
  const wide = WIDE / timeline.times.length;
  const press = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = timeline.times[Math.floor(((event.clientX - box.left) / box.width) * timeline.times.length)];
    if (at !== undefined && timeline.width > 10) zoom(at, at + timeline.width);
  };
  return html`
    <svg viewBox="0 0 ${WIDE} ${HIGH}" preserveAspectRatio="none" role="img" aria-label=${spoken(lane)} onClick=${press}>
      <rect class="room" width=${WIDE} height=${HIGH} />
      ${lane.open_s.map((open, place) => {
        if (open === null) return html`<rect key=${place} class="unknown" x=${place * wide} width=${wide} height=${HIGH} />`;
        const high = tall(open / timeline.width);
        return high > 0 && html`<rect key=${place} class="bar" x=${place * wide} y=${HIGH - high} width=${wide} height=${high}><title>${said(lane, place, timeline)}</title></rect>`;
      })}
    </svg>`;
}

/** The height of a bar, by how many queues were over at once: at least so much that it is seen. */
function tall(many) {
  if (many <= 0) return 0;
  return Math.max(4, HIGH * Math.min(1, Math.log2(1 + many) / Math.log2(1 + FULL)));
}

function said(lane, place, { times, width }) {
  const ratio = lane.worst_ratio[place];
  return [
    `${clock(times[place])} to ${clock(times[place] + width)}: over for ${lasted(lane.open_s[place])}`,
    began(lane, place) > 0 && `${began(lane, place).toLocaleString("en")} began`,
    ratio && `worst ${times_(ratio)}`,
  ].filter(Boolean).join(", ");
}

function spoken(lane) {
  const worst = most(lane.worst_ratio);
  return `${visible(lane.service)}: over for ${lasted(total(lane.open_s))} in all, ${counted(beganInAll(lane), "episode")} began${worst ? `, worst ${times_(worst)}` : ""}`;
}

function Row({ lane, isOver, choose }) {
  const [fill, ratio] = [most(lane.worst_fill), most(lane.worst_ratio)];
  return html`
    <tr>
      <th scope="row"><button type="button" class="quiet" onClick=${() => choose(lane.service)}>${brief(lane.service)}</button></th>
      <td class="number">${lasted(total(lane.open_s))}</td>
      <td class="number">${beganInAll(lane).toLocaleString("en")}</td>
      <td class="number">${fill ? `${fill} %` : ""}</td>
      <td class="number">${ratio ? times_(ratio) : ""}</td>
      <td>${isOver ? html`<b class="over">● over now</b>` : "ended"}</td>
    </tr>`;
}

function Axis({ timeline }) {
  const { from, to } = timeline;
  const ticks = Array.from({ length: TICKS + 1 }, (_, place) => from + ((to - from) * place) / TICKS);
  return html`<p class="axis">${ticks.map((at) => html`<time key=${at} datetime=${utc(at)} title=${utc(at)}>${clock(at)}</time>`)}</p>`;
}

function times_(ratio) {
  return `${ratio >= 10 ? Math.round(ratio).toLocaleString("en") : ratio}× its threshold`;
}

function began(lane, place) {
  return Object.values(lane.counts).reduce((sum, events) => sum + (events.exceeded[place] ?? 0), 0);
}

function beganInAll(lane) {
  return Object.values(lane.counts).reduce((sum, events) => sum + total(events.exceeded), 0);
}

function total(values) {
  return values.reduce((sum, each) => sum + (each ?? 0), 0);
}

function most(values) {
  return values.reduce((one, other) => Math.max(one, other ?? 0), 0);
}

/** Return the condition of the filter that narrows to a service, as the timeline names it: unit, container, counter, process or port. */
export function conditionOf(service) {
  const quoted = `"${service.replaceAll('"', "")}"`;
  const port = /^(tcp|udp) (\d{1,5})$/.exec(service);
  if (port) return `${port[1]} :${port[2]}`;
  if (/\.(service|socket|scope|slice)$/.test(service)) return `unit=${quoted}`;
  if (/^[0-9a-f]{12}$/.test(service)) return `container=${quoted}`;
  if (/^(Ip|Icmp|Tcp|Udp|MPTcp)[A-Za-z0-9]*[A-Z]\w+$/.test(service)) return `name=${quoted}`;
  return `comm=${quoted}`;
}
