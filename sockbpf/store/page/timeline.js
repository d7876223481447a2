// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Episodes by service over time: a bar from start to end, as high as its peak against the threshold. */

import { axis, colour, fit, timeAxis, uPlot } from "./chart.js";
import { brief, bytes, clock, ends, lasted, owner, service, size, times, timesText, utc } from "./words.js";

/** How many services get a lane; its height in pixels; how many times the threshold a peak is that fills it. */
const LANES = 12;
const LANE_PX = 24;
const FULL = 64;

/** Make the timeline; `on.choose(episode)` when a bar is pressed, `on.zoom(from, to)` when the mouse drags over a time. */
export function makeTimeline(place, reading, rows, on) {
  const chart = { current: null };
  let lanes = [];
  let span = [0, 1];
  let bars = [];
  let known = null;
  let hit = null;
  fit(place, chart);

  /** Show episodes; `whole` is the time from which on no episode is missing, null if none is missing at all. */
  function show(episodes, [from, to], whole) {
    known = whole;
    lanes = lanesOf(episodes);
    const now = Date.now() / 1000;
    const first = episodes.reduce((least, each) => Math.min(least, each.start), now);
    span = [from ?? first - (now - first) * 0.02 - 1, to ?? now];
    const height = Math.max(1, Math.min(lanes.length, LANES)) * LANE_PX + 26;
    if (!chart.current) chart.current = new uPlot(options(place.clientWidth, height), [span, [null, null]], place);
    else {
      if (chart.current.height !== height) chart.current.setSize({ width: chart.current.width, height });
      chart.current.setData([span, [null, null]]);
    }
    if (!hit) reading.textContent = hint(lanes, known);
    place.setAttribute("aria-label", spoken(episodes, lanes));
    fillRows(rows, lanes, on);
  }

  function options(width, height) {
    return {
      width,
      height,
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      scales: { x: { time: true, range: () => span }, y: { dir: -1, range: () => [-0.5, Math.min(lanes.length, LANES) - 0.5] } },
      axes: [
        timeAxis(),
        {
          ...axis(),
          size: 100,
          space: 1,
          splits: () => lanes.slice(0, LANES).map((_, lane) => lane),
          values: (_, splits) => splits.map((lane) => lanes[lane]?.name.slice(0, 16) ?? ""),
        },
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      padding: [0, 8, 0, 0],
      hooks: { draw: [draw], setCursor: [point], setSelect: [select], ready: [listen] },
    };
  }

  function draw(u) {
    const pen = u.ctx;
    const ratio = devicePixelRatio;
    bars = [];
    pen.save();
    pen.beginPath();
    pen.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    pen.clip();
    if (known !== null) {
      pen.fillStyle = colour("unknown");
      pen.fillRect(u.bbox.left, u.bbox.top, u.valToPos(known, "x", true) - u.bbox.left, u.bbox.height);
    }
    const look = { RECV: colour("recv"), SEND: colour("send"), ACCEPT: colour("accept"), open: colour("over") };
    for (const [lane, { episodes }] of lanes.slice(0, LANES).entries()) {
      const bottom = u.valToPos(lane + 0.46, "y", true);
      for (const episode of episodes) {
        const left = u.valToPos(episode.start, "x", true);
        const right = Math.max(u.valToPos(episode.end ?? span[1], "x", true), left + 2 * ratio);
        if (right < u.bbox.left || left > u.bbox.left + u.bbox.width) continue;
        const high = LANE_PX * ratio * 0.9 * tall(episode);
        pen.fillStyle = look[episode.type] ?? look.RECV;
        pen.globalAlpha = 0.75;
        pen.fillRect(left, bottom - high, right - left, high);
        pen.globalAlpha = 1;
        pen.fillRect(left, bottom - high, right - left, ratio);
        if (!episode.end) {
          pen.fillStyle = look.open;
          pen.fillRect(left, bottom - 3 * ratio, right - left, 3 * ratio);
        }
        bars.push({ episode, lane, left: left / ratio, right: right / ratio });
      }
    }
    pen.restore();
  }

  /** The bar under the pointer, the narrowest if several lie there. */
  function under(u) {
    const { left, top } = u.cursor;
    if (left === null || left < 0) return null;
    const lane = Math.round(u.posToVal(top, "y"));
    const x = left + u.bbox.left / devicePixelRatio;
    const near = bars.filter((bar) => bar.lane === lane && bar.left - 4 <= x && x <= bar.right + 4);
    near.sort((one, other) => one.right - one.left - (other.right - other.left));
    return near[0]?.episode ?? null;
  }

  function point(u) {
    hit = under(u);
    u.over.style.cursor = hit ? "pointer" : "crosshair";
    reading.textContent = hit ? described(hit) : hint(lanes, known);
  }

  function select(u) {
    if (u.select.width < 4) return;
    on.zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  function listen(u) {
    u.over.addEventListener("click", () => hit && on.choose(hit));
    reading.textContent = hint(lanes, known);
  }

  return { show };
}

/** The height of a bar as part of its lane: at the threshold a quarter, then by every doubling. */
function tall(episode) {
  const over = Math.max(1, times(episode.peak, episode.threshold) ?? FULL);
  return Math.min(1, 0.25 + (0.75 * Math.log2(over)) / Math.log2(FULL));
}

/** The services with their episodes: those that are over or were worst get the lanes, in the order of their ports. */
function lanesOf(episodes) {
  const found = new Map();
  for (const episode of episodes) {
    const name = service(episode);
    if (!found.has(name)) found.set(name, { name, episodes: [], open: 0, worst: episode, rank: 0 });
    const lane = found.get(name);
    lane.episodes.push(episode);
    lane.open += episode.end ? 0 : 1;
    if (Number(episode.peak) > Number(lane.worst.peak)) lane.worst = episode;
    lane.rank = Math.max(lane.rank, (episode.end ? 0 : 1e6) + (times(episode.peak, episode.threshold) ?? 0));
  }
  const ranked = [...found.values()].sort((one, other) => other.rank - one.rank);
  const drawn = ranked.slice(0, LANES).sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
  return [...drawn, ...ranked.slice(LANES)];
}

function hint(lanes, known) {
  const more = lanes.length - LANES;
  const rest = more > 0 ? ` ${more} further ${more === 1 ? "service is" : "services are"} in the table below only.` : "";
  const older = known === null ? "" : ` Before ${clock(known)} not all episodes are loaded: press More, below the table.`;
  return `Height: peak against threshold. Drag over a time to zoom, press a bar to choose its socket.${older}${rest}`;
}

function described(episode) {
  const until = episode.end ? `to ${clock(episode.end)}` : "still over";
  const of = [service(episode), ends(episode), owner(episode), brief(episode.host)].filter(Boolean).join(" · ");
  const peak = `peak ${size(episode.peak, episode.type)} ${timesText(times(episode.peak, episode.threshold))}`;
  return `${of}: ${clock(episode.start)} ${until} (${lasted((episode.end ?? Date.now() / 1000) - episode.start)}), ${peak}`;
}

function spoken(episodes, lanes) {
  const open = episodes.filter((each) => !each.end).length;
  const worst = lanes.slice(0, 3).map((lane) => `${lane.name}: ${lane.episodes.length}, highest peak ${size(lane.worst.peak, lane.worst.type)}`);
  return `Timeline: ${episodes.length} episodes of ${lanes.length} services, ${open} still over. ${worst.join("; ")}. The table below says the same.`;
}

function fillRows(body, lanes, on) {
  if (!body.closest("details").open) return;
  const focused = document.activeElement?.closest("#services-rows tr")?.dataset.service;
  body.replaceChildren(...lanes.slice(0, 200).map((lane) => row(lane, on)));
  if (focused) [...body.children].find((tr) => tr.dataset.service === focused)?.querySelector("button").focus();
}

function row(lane, on) {
  const tr = document.createElement("tr");
  tr.dataset.service = lane.name;
  const first = Math.min(...lane.episodes.map((each) => each.start));
  const last = lane.open ? null : Math.max(...lane.episodes.map((each) => each.end));
  const button = document.createElement("button");
  button.type = "button";
  button.className = "choose";
  button.textContent = lane.name;
  button.addEventListener("click", () => on.service(lane.worst));
  const cells = [[button, "", ""], [lane.episodes.length, "", "number"], [lane.open, "", "number"],
    [size(lane.worst.peak, lane.worst.type), bytes(lane.worst.peak, lane.worst.type), "number"], [clock(first), utc(first), ""], [last ? clock(last) : "still over", last ? utc(last) : "", ""]];
  for (const [text, title, look] of cells) {
    const td = document.createElement("td");
    td.append(text instanceof Node ? text : String(text));
    td.title = title;
    td.className = look;
    tr.append(td);
  }
  return tr;
}
