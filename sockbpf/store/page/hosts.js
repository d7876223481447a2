// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The hosts: whether each was heard of, by which monitor it is watched, what that cannot see. */

import { html } from "./preact.esm.js";
import { ago, brief, clock, counted, utc, visible } from "./words.js";

const STATES = { heard: ["●", "heard"], silent: ["◌", "silent"], stopped: ["■", "stopped"] };

/** The hosts of an answer to `/hosts`; `choose(host)` is called with the one that is clicked. */
export function Hosts({ answer, choose }) {
  const { counts, hosts, at } = answer;
  const in_all = counts.heard + counts.silent + counts.stopped;
  if (!in_all) return html`<p class="empty">No monitor has been heard of yet.</p>`;
  return html`
    <p class="reading">${counted(in_all, "host")}: ${counts.heard.toLocaleString("en")} heard, ${counts.silent.toLocaleString("en")} silent, ${counts.stopped.toLocaleString("en")} stopped.${answer.truncated ? ` ${hosts.length} of them are shown; the filter finds others by host=name.` : ""}</p>
    <div class="scroll rows" tabindex="0" role="region" aria-label="All hosts">
      <table class="hosts">
        <thead><tr><th scope="col">Host</th><th scope="col">State</th><th scope="col">Last word</th><th scope="col" class="number">Over</th><th scope="col">Watches</th><th scope="col">Since</th><th scope="col">Kernel</th><th scope="col" class="number">Lost</th></tr></thead>
        <tbody>${hosts.map((host) => html`<${Host} key=${host.host} host=${host} at=${at} choose=${choose} />`)}</tbody>
      </table>
    </div>`;
}

function Host({ host, at, choose }) {
  const [mark, word] = STATES[host.state] ?? STATES.heard;
  const watches = host.blind.length ? host.blind.join("; ") : host.mode ? "all by hooks" : "";
  return html`
    <tr data-state=${host.state}>
      <th scope="row"><button type="button" class="quiet" onClick=${() => choose(host.host)}>${brief(host.host)}</button></th>
      <td><span aria-hidden="true">${mark}</span> ${word}</td>
      <td title=${utc(host.heard)}>${ago(host.heard, at)}</td>
      <td class="number">${host.over.toLocaleString("en")}</td>
      <td title=${visible(watches)}>${brief(watches)}</td>
      <td title=${host.since ? utc(host.since) : ""}>${host.since ? clock(host.since) : ""}</td>
      <td title=${visible(host.version)}>${brief(host.kernel)}</td>
      <td class="number">${host.lost === null ? "" : host.lost.toLocaleString("en")}</td>
    </tr>`;
}
