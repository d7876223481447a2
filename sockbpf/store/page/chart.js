// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What both charts share: colours, the axis of time, a width that follows the page. */

import uPlot from "./uPlot.esm.js";
import { clock } from "./words.js";

export { uPlot };

/** Return a colour of page.css by its name. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export const FONT = "11px system-ui, sans-serif";

/** The axis of time. */
export function timeAxis() {
  return { ...axis(), space: 64, values: (_, splits, __, ___, step) => splits.map((at, place) => tick(at, step, splits[place - 1])) };
}

export function axis() {
  const line = { stroke: () => colour("line"), width: 1 };
  return { stroke: () => colour("dim"), font: FONT, grid: line, ticks: { ...line, size: 4 }, gap: 4, size: 26 };
}

function tick(at, step, before) {
  const date = new Date(at * 1000);
  const day = `${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
  if (step >= 86400) return day;
  const time = clock(at, at * 1000).slice(0, step < 60 ? 8 : 5);
  const fine = step < 1 ? `${time}.${String(Math.round((at % 1) * 1000)).padStart(3, "0")}` : time;
  const midnight = before !== undefined && new Date(before * 1000).getDate() !== date.getDate();
  return midnight ? `${day} ${fine}` : fine;
}

/** Keep a chart as wide as its place, and draw it again when the page changes between light and dark. */
export function fit(place, chart) {
  const watch = new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (chart.current && width > 0 && width !== chart.current.width) chart.current.setSize({ width, height: chart.current.height });
  });
  watch.observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.current?.redraw(false, true));
}
