// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The hosts: whether each was heard of, by which monitor it is watched, what that cannot see; of which kinds there are how many. */

import { hasHostCondition, labelCondition, toggled } from "./host_filter.js";
import { html } from "./preact.esm.js";
import { ago, brief, clock, counted, utc, visible } from "./words.js";

const STATES = { heard: ["●", "heard"], silent: ["◌", "silent"], stopped: ["■", "stopped"] };

/** So many versions, and values of a label, are offered. */
const OFFERED = 8;

/**
 * The hosts of an answer to `/hosts`.
 *
 * `text` is what they were asked by; `choose(host)` is called with the one that is clicked, `find(text)` with what is to be
 * asked next, `more()` for further ones, if there are some that can be asked for.
 */
export function Hosts({ answer, text, choose, find, more }) {
  const { counts, hosts, at } = answer;
  const in_all = counts.heard + counts.silent + counts.stopped;
  if (!in_all) return html`<p class="empty">No monitor has been heard of yet.</p>`;
  return html`
    <p class="reading">${counted(in_all, "host")}: ${counts.heard.toLocaleString("en")} heard, ${counts.silent.toLocaleString("en")} silent, ${counts.stopped.toLocaleString("en")} stopped${answer.blind ? `; of ${counted(answer.blind, "host")} the monitor does not see all` : ""}.</p>
    <${Kinds} answer=${answer} text=${text} find=${find} />
    ${hosts.length ? html`
      <div class="scroll rows" tabindex="0" role="region" aria-label="All hosts">
        <table class="hosts">
          <thead><tr><th scope="col">Host</th><th scope="col">State</th><th scope="col">Last word</th><th scope="col" class="number">Over</th><th scope="col">Watches</th><th scope="col">Labels</th><th scope="col">Version</th><th scope="col">Since</th><th scope="col">Kernel</th><th scope="col" class="number">Lost</th></tr></thead>
          <tbody>${hosts.map((host) => html`<${Host} key=${host.host} host=${host} at=${at} choose=${choose} />`)}</tbody>
        </table>
      </div>` : html`<p class="empty">No host fits.</p>`}
    ${answer.truncated && html`<p class="note">The first ${hosts.length.toLocaleString("en")} are shown, silent ones first. ${more ? html`<button type="button" onClick=${more}>More hosts</button>` : "Find others by what is typed above."}</p>`}`;
}

/** What can be asked for by a press: states, versions where there are several, labels. */
function Kinds({ answer, text, find }) {
  const { counts, blind, versions, labels } = answer;
  const states = [...Object.entries(counts).map(([state, count]) => ["state", state, state, count]), ["blind", "true", "blind", blind]];
  const rows = [
    ["State", states.filter(([, , , count]) => count), 0],
    ["Version", versions.length > 1 ? versions.map(({ version, count }) => ["version", version, version, count]) : [], 0],
    ...labels.map(({ name, values, more }) => [name, values.map(({ value, count }) => [...labelCondition(name, value), value, count]), more]),
  ];
  return html`
    <div class="kinds">
      ${rows.filter(([, kinds]) => kinds.length).map(([title, kinds, further]) => html`
        <div key=${title} role="group" aria-label=${visible(title)}>
          <span class="kind" aria-hidden="true">${brief(title)}</span>
          ${kinds.slice(0, OFFERED).map(([name, value, shown, count]) => html`
            <button type="button" key=${shown} aria-pressed=${hasHostCondition(text, name, value) ? "true" : "false"} onClick=${() => find(toggled(text, name, value))}>${brief(shown)} <span class="count">${count.toLocaleString("en")}</span></button>`)}
          ${kinds.length + further > OFFERED && html`<span class="count">and ${(kinds.length + further - OFFERED).toLocaleString("en")} more</span>`}
        </div>`)}
    </div>`;
}

function Host({ host, at, choose }) {
  const [mark, word] = STATES[host.state] ?? STATES.heard;
  const watches = host.blind.length ? host.blind.join("; ") : host.mode ? "all by hooks" : "";
  const labels = Object.entries(host.labels).map(([name, value]) => `${name}=${value}`).join(" ");
  return html`
    <tr data-state=${host.state}>
      <th scope="row"><button type="button" class="quiet" onClick=${() => choose(host.host)}>${brief(host.host)}</button></th>
      <td><span aria-hidden="true">${mark}</span> ${word}</td>
      <td title=${utc(host.heard)}>${ago(host.heard, at)}</td>
      <td class="number">${host.over.toLocaleString("en")}</td>
      <td title=${visible(watches)}>${brief(watches)}</td>
      <td title=${visible(labels)}>${brief(labels)}</td>
      <td>${brief(host.version)}</td>
      <td title=${host.since ? utc(host.since) : ""}>${host.since ? clock(host.since) : ""}</td>
      <td>${brief(host.kernel)}</td>
      <td class="number">${host.lost === null ? "" : host.lost.toLocaleString("en")}</td>
    </tr>`;
}
