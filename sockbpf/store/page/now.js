// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What is wrong now: a card for each incident, the worst first; where nothing is, that, and since when all is heard. */

import { page } from "./api.js";
import { Fill } from "./fill.js";
import { html, useState } from "./preact.esm.js";
import { ago, clock, counted, ends, home, lasted, owner, size, utc, visible } from "./words.js";

/** How the state of an incident is said: a mark beside the words, so that no colour is needed. */
const STATES = { over: ["●", "over"], "not-heard": ["◌", "not heard of"], silent: ["◌", "silent"] };
const KINDS = {
  "silent-host": "host is silent",
  "silent-hosts": "hosts are silent",
  "blind-monitor": "monitor does not see all",
  "blind-monitors": "monitors do not see all",
};
const OF_QUEUES = new Set(["queues", "remote-service"]);
const QUEUES = { SEND: "to send", RECV: "to receive", ACCEPT: "to accept", RATE: "" };

/** So many hosts with silences are named. */
const SILENCES = 5;

/** So many of its episodes are shown, and so many of its hosts named. */
const MEMBERS = 10;
const NAMED = 6;

/** What names an incident in answers that follow one another. */
export function incidentKey(each) {
  if (each.kind === "silent-hosts") return [each.kind, each.since, each.trusted].join("\n");
  return [each.kind, each.remote ?? each.host, each.service_kind, each.service, each.type, each.cause, each.state, each.trusted].join("\n");
}

/**
 * The incidents of an answer to `/now`.
 *
 * `silenced` has the hosts whose monitor tells nothing of some queues, `hidden` is how many incidents the filter hides;
 * `choose(episode)` is called with the one that is clicked, `only(incident)` with the incident whose service or host alone is
 * to be shown.
 */
export function Now({ silenced, ...of }) {
  return html`<${Incidents} ...${of} /><${Silences} silenced=${silenced} />`;
}

function Incidents({ now, hidden, choose, only }) {
  const [open, setOpen] = useState("");
  const [members, setMembers] = useState({ key: "", rows: [] });
  async function toggle(key, incident) {
    setMembers({ key, rows: [] });
    setOpen(open === key ? "" : key);
    if (open === key) return;
    const rows = await membersOf(incident).catch(() => []); // what keeps the store from answering is said for other questions
    setMembers((latest) => (latest.key === key ? { key, rows } : latest));
  }
  if (!now.incidents.length && hidden) return html`<p class="note">None of ${counted(hidden, "incident")} fits the filter.</p>`;
  if (!now.incidents.length) return html`<${AllWell} now=${now} />`;
  return html`
    <ol class="incidents">
      ${now.incidents.map((each) => {
        const key = incidentKey(each);
        return html`<li key=${key}><${Incident} incident=${each} at=${now.at} members=${open === key ? members.rows : null} toggle=${() => toggle(key, each)} choose=${choose} only=${() => only(each)} /></li>`;
      })}
    </ol>
    ${hidden > 0 && html`<p class="note">${counted(hidden, "further incident")} ${hidden === 1 ? "does" : "do"} not fit the filter.</p>`}
    ${now.truncated && html`<p class="note">${counted(now.incidents.length, "incident")} of ${now.count.toLocaleString("en")} are shown.</p>`}`;
}

/** What nothing is told of for a time, on the hosts that are shown. */
function Silences({ silenced }) {
  const some = silenced.slice(0, SILENCES);
  const more = silenced.length - some.length;
  return html`
    ${some.map((each) => html`<p key=${each.host} class="note silenced">Silenced on ${visible(each.host)}: ${visible(each.silences)}</p>`)}
    ${more > 0 && html`<p class="note">${counted(more, "further host")} ${more === 1 ? "has" : "have"} silences.</p>`}`;
}

function AllWell({ now }) {
  const { heard, silent, stopped } = now.hosts;
  if (!heard && !silent && !stopped) return html`<p class="well">No monitor has been heard of yet.</p>`;
  if (!heard) return html`<p class="well">No monitor watches: ${counted(stopped, "host")} stopped.</p>`;
  return html`<p class="well"><span class="mark" aria-hidden="true">✓</span> Nothing is over on ${counted(heard, "host")}, all heard of in the last ${lasted(now.at - now.hosts.all_heard_since)}${stopped ? `; ${counted(stopped, "monitor")} stopped` : ""}.</p>`;
}

function Incident({ incident, at, members, toggle, choose, only }) {
  const [mark, word] = STATES[incident.state] ?? STATES.over;
  const isOfQueues = OF_QUEUES.has(incident.kind);
  const critical = incident.severity === "critical" ? "critical, " : "";
  return html`
    <article class="incident" data-state=${incident.state} data-kind=${incident.kind} data-severity=${incident.severity}>
      <header>
        <h3><button type="button" title="Only this" onClick=${only}>${titleOf(incident)}</button>${isOfQueues && html` <span class="where">${whereOf(incident)}</span>`}</h3>
        <p class="said"><span aria-hidden="true">${mark}</span> ${critical}${isOfQueues ? word : KINDS[incident.kind]}</p>
        <p class="since">since <time datetime=${utc(incident.since)} title=${utc(incident.since)}>${clock(incident.since)}</time>, ${lasted(Math.max(1, Math.floor(at - incident.since)))}</p>
      </header>
      <p class="reason">${visible(incident.reason) || "Why is not known."}</p>
      ${incident.hosts > 1 && html`<p class="about">${hostsOf(incident)}</p>`}
      ${isOfQueues && html`<${Fill} of=${incident} />`}
      ${isOfQueues && html`
        <footer>
          <p class="about">${about(incident, at)}</p>
          <button type="button" class="quiet" aria-expanded=${members ? "true" : "false"} onClick=${toggle}>${members ? "Hide" : "Show"} ${counted(incident.count, "socket")}</button>
        </footer>`}
      ${members && html`<${Members} incident=${incident} rows=${members} choose=${choose} />`}
    </article>`;
}

function titleOf(incident) {
  if (!OF_QUEUES.has(incident.kind)) return incident.hosts > 1 ? counted(incident.hosts, "host") : visible(incident.host);
  if (incident.service_kind === "port") return `${visible(incident.protocol)} port ${visible(incident.local_port)}`;
  return visible(incident.service);
}

/** Where it is: of what several hosts cannot reach, where what is shown is from. */
function whereOf({ kind, hosts, host, service_kind: named }) {
  return kind === "remote-service" && named === "remote" ? `from ${counted(hosts, "host")}, the worst is ${visible(host)}` : `on ${visible(host)}`;
}

/** Which hosts it is about, by name as far as there is room. */
function hostsOf({ kind, hosts, host_names: names, remote, other_services: services }) {
  const some = names.slice(0, NAMED).map((name) => visible(name)).join(", ");
  const more = hosts - Math.min(names.length, NAMED);
  const listed = more > 0 ? `${some} and ${more.toLocaleString("en")} more` : some;
  const who = services.length ? ` (${services.slice(0, NAMED).map((each) => visible(each)).join(", ")})` : "";
  return kind === "remote-service" ? `${counted(hosts, "host")} cannot send to ${visible(remote)}${who}: ${listed}` : listed;
}

/** What else is said of an incident's queues, in one line. */
function about(incident, at) {
  const peer = incident.peer_comm || incident.peer_pid ? owner({ comm: incident.peer_comm, pid: incident.peer_pid }) : "";
  return [
    incident.type === "RATE" || incident.service_kind === "remote" ? "" : `${visible(incident.protocol)} ${visible(incident.local_port)} ${QUEUES[incident.type] ?? ""}`.trim(),
    incident.count === 1 && ends({ ...incident, count: null }),
    whoOf(incident),
    trendOf(incident),
    incident.drops > 0 && `${incident.drops.toLocaleString("en")} dropped`,
    !incident.remote && (peer || incident.other_ends.length > 0) && `other end: ${peer || "on this host"}`,
    incident.state !== "over" && `last heard of ${ago(incident.heard, at)}`,
  ].filter(Boolean).join(" · ");
}

/** Who holds it, as far as the title and the reason have not said that. */
function whoOf(incident) {
  if (incident.service_kind !== "process") return owner(incident);
  const pid = incident.pid ? `pid ${visible(incident.pid)}` : "";
  return String(incident.reason ?? "").includes(`(${pid})`) ? "" : pid;
}

/** Whether it grows or drains: by its last two alerts, or as far as its only one says that. */
function trendOf({ type, size: now, peak, change }) {
  if (type === "RATE" || now === null || peak === null) return "";
  if (change === null) return now >= peak ? "at its highest" : `↘ down from ${size(peak, type)}`;
  if (change === 0) return "→ stands still";
  const speed = type === "ACCEPT" ? "" : `, ${size(Math.abs(change), type)}/s`;
  return change > 0 ? `↗ grows${speed}` : `↘ drains${speed}`;
}

function Members({ incident, rows, choose }) {
  const shown = rows.reduce((sum, row) => sum + (row.count || 1), 0);
  return html`
    <table class="members">
      <thead><tr><th scope="col">Socket</th><th scope="col">Process</th><th scope="col" class="number">Size</th><th scope="col" class="number">Peak</th><th scope="col">Since</th></tr></thead>
      <tbody>
        ${rows.map((row) => html`
          <tr key=${`${row.host} ${row.id}`}>
            <th scope="row">${incident.hosts > 1 && html`${visible(row.host)} `}<button type="button" class="quiet" onClick=${() => choose(row)}>${ends(row)}</button></th>
            <td>${[owner(row), home(row)].filter(Boolean).join(" · ")}</td>
            <td class="number">${size(row.size, row.type)}</td>
            <td class="number">${size(row.peak, row.type)}</td>
            <td><time datetime=${utc(row.start)} title=${utc(row.start)}>${clock(row.start)}</time></td>
          </tr>`)}
      </tbody>
    </table>
    ${shown > 0 && incident.count > shown && html`<p class="note">The worst ${shown} of ${incident.count.toLocaleString("en")}.</p>`}`;
}

/** Return the worst episodes of an incident. */
async function membersOf(incident) {
  const own = incident.episodes.map((id) => ({ host: incident.host, id }));
  const all = [...own, ...incident.elsewhere.filter((each) => each.host !== incident.host)];
  const found = await Promise.all(all.slice(0, MEMBERS).map(({ host, id }) => page("episodes", [["host", host], ["id", id]])));
  return found.flatMap((each) => each.rows);
}
