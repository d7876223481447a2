// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Advice for one service: what other thresholds would have told of it, by settings that the reader may correct. */

import { ask } from "./api.js";
import { copy } from "./copy.js";
import { html, useEffect, useRef, useState } from "./preact.esm.js";
import { brief, bytes, clock, lasted, number, size, visible } from "./words.js";

const DAY_S = 86_400;
const FIRST = { days: 7, threshold: "", hold: "" };
const UNITS = { "": 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const SIZE = String.raw`(\d{1,10}) ?(|B|KiB|MiB|GiB)`;

/** Return the bytes that a size as settings write it stands for, null if it is none. */
export function bytesOf(text) {
  const found = new RegExp(`^${SIZE}$`).exec(text.trim());
  return found && Number(found[1]) * UNITS[found[2]];
}

/** Return the parameters that ask for the advice for a service of the history; `now` is Unix time. */
export function adviceParameters({ host, service, protocol, type }, { days, threshold, hold }, now) {
  const to = Math.ceil(now);
  const said = [["threshold", bytesOf(threshold)], ["hold", number(hold)]].filter(([, value]) => value !== null);
  return [
    ["host", host], ["service", service], ["protocol", protocol], ["type", type],
    ["from", to - days * DAY_S], ["to", to], ["utc_offset", -60 * new Date(now * 1000).getTimezoneOffset()],
    ...said,
  ].map(([name, value]) => [name, String(value)]);
}

/** Return how often levels would have told, and how sure that is, in words. */
export function toldBy({ least, seen, most, exact }) {
  if (exact) return [times(least), "exact"];
  return [seen ? `about ${times(seen)}` : "never that a look shows", most === null ? `${least} or more` : `${least} to ${most}`];
}

function times(count) {
  return ["never", "once"][count] ?? `${count.toLocaleString("en")} times`;
}

/** The advice for the service `of`, with what `asked` at first by days; `close()` is called when it is not wanted any more. */
export function Advice({ of, close }) {
  const [asked, setAsked] = useState(FIRST);
  const [held, setHeld] = useState({ answer: null, fault: "", isBusy: true });
  const title = useRef(null);
  useEffect(() => title.current.focus(), []);
  useEffect(() => {
    const own = new AbortController();
    setHeld((before) => ({ ...before, fault: "", isBusy: true }));
    asking(of, asked, own.signal).then(
      (answer) => setHeld({ answer, fault: "", isBusy: false }),
      (fault) => own.signal.aborted || setHeld({ answer: null, fault: fault.status ? `The store says: ${fault.message}` : "The store cannot be reached.", isBusy: false }),
    );
    return () => own.abort();
  }, [asked]);
  return html`
    <section class="advice" aria-labelledby="advice-title" aria-busy=${held.isBusy}>
      <div class="heading">
        <h3 id="advice-title" tabindex="-1" ref=${title}>Advice for ${brief(of.service)} ${brief(of.protocol)} ${brief(of.type)} of ${brief(of.host)}</h3>
        <button type="button" class="quiet" onClick=${close}>Close</button>
      </div>
      <${Settings} present=${held.answer?.present} set=${setAsked} />
      <p class="empty" role="status">${held.isBusy ? "Asking the store …" : visible(held.fault)}</p>
      ${held.answer && html`<${Answer} of=${held.answer} />`}
    </section>`;
}

async function asking(of, asked, signal) {
  const answer = await ask("advice", adviceParameters(of, asked, Date.now() / 1000), { signal });
  return answer.json();
}

/** What is asked: of how many days, and what the reader knows of the settings of the host. */
function Settings({ present, set }) {
  const submit = (event) => {
    event.preventDefault();
    const typed = new FormData(event.currentTarget);
    set({ days: Number(typed.get("days")), threshold: String(typed.get("threshold")), hold: String(typed.get("hold")) });
  };
  return html`
    <form class="filters" aria-label="What advice is made of" autocomplete="off" onSubmit=${submit}>
      <div class="field"><label for="advice-days">Time</label>
        <select id="advice-days" name="days"><option value="1">last day</option><option value="7" selected>last 7 days</option><option value="14">last 14 days</option></select></div>
      <div class="field"><label for="advice-threshold">Threshold now</label>
        <input id="advice-threshold" name="threshold" size="10" spellcheck="false" pattern=${SIZE} title="bytes, or as 64KiB" placeholder=${present ? size(present.threshold) : "1 MiB"} /></div>
      <div class="field"><label for="advice-hold">Hold now, s</label>
        <input id="advice-hold" name="hold" type="number" min="0" max=${DAY_S} step="any" placeholder=${present ? present.hold : 0} /></div>
      <button type="submit">Ask</button>
    </form>`;
}

function Answer({ of }) {
  const spread = ({ p50, p99, top }, shown) => `${shown(p50)}, ${shown(p99)}, ${shown(top)}`;
  const facts = [
    ["Largest p50, p99, max", spread(of.size, (value) => size(value, of.type))],
    ["Fullest p50, p99, max", spread(of.fill, (value) => `${value} %`)],
    ["Not empty for", lasted(of.busy_s)],
    ["Told", times(of.told)],
  ];
  return html`
    <dl class="facts">${facts.map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>
    <p class="why">${capital(visible(of.reason))}.</p>
    ${of.rule && html`<${Rule} key=${of.rule} text=${of.rule} />`}
    ${of.tried.length > 0 && html`<${Tried} of=${of} />`}
    <p class="empty">From ${clock(of.from)} to ${clock(of.to)}. ${assumption(of)}</p>`;
}

function capital(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** Return what the store cannot know, in words. */
function assumption({ assumed, by_looks: byLooks, told, service }) {
  const host = `On the host, sockbpf advise --service ${brief(service)} knows its settings.`;
  if (!assumed) return host;
  const differs = byLooks > told ? ` By the looks alone these would have told ${times(byLooks)}: where that differs much from what was told, they are others, or it was silenced.` : "";
  return `The store is not told the settings of a host. Assumed: ${visible(assumed)}; no rule that is for some of these sockets alone.${differs} ${host}`;
}

function Rule({ text }) {
  const code = useRef(null);
  return html`
    <div class="rules">
      <pre tabindex="0" role="region" aria-label="The rule, as YAML"><code ref=${code}>${text.split("\n").map((line) => visible(line, Infinity)).join("\n")}</code></pre>
      <button type="button" class="quiet" onClick=${(event) => copy(code.current, event.currentTarget)}>Copy</button>
    </div>
    <p class="empty">To be the first below <code>rules:</code> in the host’s config.yaml. What else the rule sets that applies there now is not known here: set it in this one too.</p>`;
}

function Tried({ of: { tried, present } }) {
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="What was tried">
      <table>
        <thead><tr><th scope="col" class="number">Threshold</th><th scope="col" class="number">Hold</th><th scope="col">Would have told</th><th scope="col">Bounds</th><th scope="col">Now</th></tr></thead>
        <tbody>${tried.map((rung) => html`<${Rung} key=${`${rung.threshold} ${rung.hold}`} of=${rung} isNow=${rung.threshold === present.threshold && rung.hold === present.hold} />`)}</tbody>
      </table>
    </div>`;
}

function Rung({ of, isNow }) {
  const [told, bounds] = toldBy(of);
  return html`
    <tr aria-current=${isNow ? "true" : null}>
      <td class="number" title=${bytes(of.threshold)}>${size(of.threshold)}</td>
      <td class="number">${of.hold ? `${of.hold} s` : ""}</td>
      <td>${told}</td>
      <td>${bounds}</td>
      <td>${isNow ? "now" : ""}</td>
    </tr>`;
}
