// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** One socket's size against its threshold and its limit over time, and how full it is. */

import { axis, colour, fit, timeAxis, uPlot } from "./chart.js";
import { alertKey } from "./episodes.js";
import { brief, bytes, clock, number, size, utc } from "./words.js";

const HEIGHT = 190;

/** Make the chart of one socket; `show(alerts)` with its alerts in any order. */
export function makeSeries(place, reading, rows) {
  const chart = { current: null };
  let type = "";
  fit(place, chart);

  function show(alerts) {
    const data = dataOf(alerts);
    type = alerts.at(-1)?.type ?? "";
    if (!chart.current) chart.current = new uPlot(options(place.clientWidth), data, place);
    else chart.current.setData(data);
    place.setAttribute("aria-label", spoken(alerts));
    fillRows(rows, alerts);
  }

  function options(width) {
    const points = { show: true, size: 5 };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: true } },
      scales: { x: { time: true, range: spanOf }, y: { range: (_, __, most) => [0, (most || 1) * 1.08] }, "%": { range: [0, 108] } },
      axes: [
        timeAxis(),
        { ...axis(), size: 62, space: 30, incrs: STEPS, values: (_, splits) => splits.map((at) => size(at, type)) },
        { ...axis(), scale: "%", side: 1, size: 40, space: 30, grid: { show: false }, splits: [0, 50, 100], values: (_, splits) => splits.map((at) => `${at} %`) },
      ],
      series: [
        {},
        { stroke: () => colour("peak"), width: 1, dash: [3, 3], points: { show: false } },
        { stroke: () => colour("size"), fill: () => colour("size-fill"), width: 1.5, points },
        { stroke: () => colour("over"), width: 1.5, points: { show: false }, spanGaps: true },
        { stroke: () => colour("text"), width: 2, dash: [2, 4], points: { show: false }, spanGaps: true },
        { stroke: () => colour("accept"), width: 1.5, points: { show: true, size: 4 }, scale: "%" },
      ],
      padding: [8, 8, 0, 0],
      hooks: { setCursor: [point] },
    };
  }

  function point(u) {
    const at = u.cursor.idx;
    const [time, peak, now, threshold, limit, fill] = at === null || at === undefined ? [] : u.data.map((each) => each[at]);
    if (now === undefined || now === null) reading.textContent = "";
    else
      reading.textContent = [
        `${clock(time)}: ${size(now, type)}${limit === null ? "" : ` of ${size(limit, type)}`}`,
        fill === null ? "" : `${fill} % full`,
        `peak ${size(peak, type)}, threshold ${size(threshold, type)}`,
      ].filter(Boolean).join(", ");
  }

  return { show };
}

/** The time that is shown; around a single instant a second each way. */
function spanOf({ data: [times] }, least, most) {
  return times[0] === times.at(-1) ? [(times[0] ?? 0) - 1, (times[0] ?? 0) + 1] : [least, most];
}

/** Steps of the axis of bytes: 1, 2, 4, … */
const STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Times, peaks, sizes, thresholds, limits, shares of these in use; a gap after each `cleared`, where nothing is known. */
function dataOf(alerts) {
  const data = [[], [], [], [], [], []];
  const known = alerts.filter((each) => number(each.timestamp) !== null && number(each.size) !== null);
  known.sort((one, other) => number(one.timestamp) - number(other.timestamp) || number(one.seq) - number(other.seq));
  for (const [place, alert] of known.entries()) {
    const at = number(alert.timestamp);
    push(data, at, number(alert.peak), number(alert.size), number(alert.threshold), number(alert.limit), number(alert.fill));
    const next = known[place + 1];
    if (alert.event === "cleared" && next) push(data, (at + number(next.timestamp)) / 2, null, null, number(alert.threshold), number(alert.limit), null);
  }
  return data;
}

function push(data, ...values) {
  for (const [place, value] of values.entries()) data[place].push(value);
}

function spoken(alerts) {
  if (!alerts.length) return "Size against threshold over time: no alerts";
  const times = alerts.map((each) => number(each.timestamp) ?? 0);
  const largest = Math.max(...alerts.map((each) => number(each.peak) ?? number(each.size) ?? 0));
  const newest = alerts[times.indexOf(Math.max(...times))];
  return (
    `Size against threshold over time: ${alerts.length} alerts from ${clock(Math.min(...times))} to ${clock(Math.max(...times))}. ` +
    `Last size ${size(newest.size, newest.type)}, threshold ${size(newest.threshold, newest.type)}, ${number(newest.fill) === null ? "" : `${newest.fill} % of ${size(newest.limit, newest.type)} in use, `}highest peak ${size(largest, newest.type)}. The table below says the same.`
  );
}

function fillRows(body, alerts) {
  if (!body.closest("details").open) return;
  const newest = [...alerts].sort((one, other) => number(other.timestamp) - number(one.timestamp)).slice(0, 200);
  body.replaceChildren(...newest.map(row));
}

function row(alert) {
  const tr = document.createElement("tr");
  tr.dataset.key = alertKey(alert);
  const cells = [[clock(alert.timestamp), utc(alert.timestamp)], [brief(alert.event), ""], ...["size", "peak", "threshold", "limit"].map((name) => [size(alert[name], alert.type), bytes(alert[name], alert.type), "number"]), [number(alert.fill) === null ? "" : `${alert.fill} %`, "", "number"]];
  for (const [text, title, look] of cells) {
    const td = document.createElement("td");
    td.textContent = text;
    td.title = title;
    td.className = look ?? "";
    tr.append(td);
  }
  return tr;
}
