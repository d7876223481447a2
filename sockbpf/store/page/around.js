// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What is around the chosen socket: the other end of its connection, and earlier episodes of its service. */

import { page } from "./api.js";
import { episodeKey } from "./episodes.js";
import { html, render } from "./preact.esm.js";
import { clock, ends, lasted, number, peer, size, utc, why } from "./words.js";

/** So many earlier episodes are listed. */
const EARLIER = 5;

/** Make it in `place`; `choose(episode)` is called with the one that is clicked, `tried` waits for a request. */
export function makeAround(place, { choose, tried }) {
  let asked = "";
  let held = { other: null, earlier: [] };
  let stop = new AbortController();

  /** Show what is around an episode; it is asked for when another episode is shown than before. */
  function show(row) {
    const key = `${episodeKey(row)} ${row.peer_id ?? ""}`;
    if (key !== asked) {
      asked = key;
      held = { other: null, earlier: [] };
      stop.abort();
      stop = new AbortController();
      if (row.id) tried(load(row, stop.signal));
    }
    render(html`<${Around} row=${row} held=${held} choose=${choose} />`, place);
  }

  async function load(row, signal) {
    const [other, earlier] = await Promise.all([row.peer_id ? page("episodes", [["host", row.host], ["id", row.peer_id]], signal) : { rows: [] }, page("episodes", before(row), signal)]);
    held = { other: other.rows[0] ?? null, earlier: earlier.rows.filter((each) => episodeKey(each) !== episodeKey(row)).slice(0, EARLIER) };
    render(html`<${Around} row=${row} held=${held} choose=${choose} />`, place);
  }

  return { show };
}

function Around({ row, held: { other, earlier }, choose }) {
  const said = peer(row) || (other ? ends(other) : "");
  return html`
    ${said && html`<p>Other end: ${other ? html`<button type="button" class="quiet" title=${ends(other)} onClick=${() => choose(other)}>${said}</button>` : said}</p>`}
    ${earlier.length > 0 && html`
      <h3>Earlier, of the same service</h3>
      <ol>
        ${earlier.map((each) => html`
          <li key=${each.id}>
            <button type="button" class="quiet" title=${ends(each)} onClick=${() => choose(each)}><time datetime=${utc(each.start)} title=${utc(each.start)}>${clock(each.start)}</time></button>
            ${each.end ? lasted(each.end - each.start) : "still over"}, up to ${size(each.peak, each.type)}${why(each) && html`: ${why(each)}`}
          </li>`)}
      </ol>`}`;
}

/** Return the parameters that find the latest episodes of an episode's service that began before it. */
export function before(row) {
  const names = row.type === "RATE" ? ["name"] : [["unit", "container", "comm"].find((name) => row[name])].filter(Boolean);
  const service = names.length ? names : ["protocol", "local_port"];
  const start = number(row.start) ?? number(row.timestamp);
  return [
    ...["host", "type", ...service].filter((name) => row[name] !== undefined && row[name] !== null).map((name) => [name, String(row[name])]),
    ["to", String(start)],
    ["sort", "start"],
    ["limit", String(EARLIER + 1)],
  ];
}
