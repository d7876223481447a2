# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The dashboard's panels as a page, by a real Prometheus' answers to their own queries. Grafana's look otherwise."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.live.prometheus import DASHBOARD, Panel, PrometheusDaemon, panels

WIDTH, CELL, LINE = 1500, 1500 / 24, 30
COLOURS = ("#5794f2", "#73bf69", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#fade2a", "#8ab8ff", "#c4162a")
STEP_S = 1
MOST = 9
"""So many lines have a name below the panel."""

STYLE = """
body { margin: 0; background: #f4f5f5; font: 12px sans-serif; color: #24292e; position: relative }
.panel, h2 { position: absolute; box-sizing: border-box; margin: 0; overflow: hidden }
.panel { background: #fff; border: 1px solid #dfe1e5; border-radius: 3px; padding: 5px 8px }
h2 { font-size: 15px; padding: 7px 4px }
h3 { margin: 0 0 2px; font-size: 12px }
.stat { font-size: 34px; text-align: center; color: #fff; height: 76%; line-height: 70px; border-radius: 3px }
.good { background: #56a64b } .bad { background: #e02f44 }
.legend { position: absolute; bottom: 4px; left: 8px; right: 8px; max-height: 28px; overflow: hidden }
.legend b { display: inline-block; width: 10px; height: 3px; margin: 0 4px 3px 8px }
td, th { text-align: left; padding: 1px 10px 1px 0; font-size: 11px }
"""


@dataclass(frozen=True)
class Time:
    """From when to when, Unix time."""

    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Line:
    name: str
    points: list[tuple[float, float]]


def quantity(value: float, unit: str) -> str:
    """Return a value as people read it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        power = min(int(math.log(max(abs(value), 1), 1024)), 2)
        return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB')[power]}"
    if unit in {"none", "short"} and value >= 1000:
        return f"{value:,.0f}"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g}{' s' if unit == 's' else ''}"


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip() or "value"


def lines_of(prometheus: PrometheusDaemon, panel: Panel, time: Time) -> list[Line]:
    """Return what a panel shows of this time, Unix time."""
    found = []
    for query, legend in panel.queries:
        answer = prometheus.get("query_range", query=query, start=time.begin_s, end=time.end_s, step=STEP_S)
        for series in answer["result"]:
            points = [(at, float(value)) for at, value in series["values"] if value != "NaN"]
            found.append(Line(_named(legend, series["metric"]), points))
    return found


def _graph(panel: Panel, lines: list[Line], time: Time, width: float, height: float) -> str:
    top = max((value for line in lines for _, value in line.points), default=0) * 1.05 or 1.0
    left, bottom = 62.0, height - 62
    across, up = (width - left - 20) / (time.end_s - time.begin_s), (bottom - 10) / top
    parts = [f'<svg width="{width - 18:.0f}" height="{height - 45:.0f}">']
    for part in (0, 0.5, 1):
        y = bottom - part * (bottom - 10)
        said = quantity(part * top, panel.unit)
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y}" y2="{y}" stroke="#e5e7ea"/>')
        parts.append(f'<text x="0" y="{y + 4}" font-size="10" fill="#666">{said}</text>')
    for number, line in enumerate(lines):
        at = [
            f"{left + (when - time.begin_s) * across:.1f},{bottom - value * up:.1f}"
            for when, value in line.points
        ]
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{" ".join(at)}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    names = "".join(
        f'<span><b style="background:{COLOURS[number % len(COLOURS)]}"></b>{html.escape(line.name)}</span>'
        for number, line in enumerate(lines[:MOST])
    )
    more = f" and {len(lines) - MOST} more" if len(lines) > MOST else ""
    return f"{''.join(parts)}</svg><div class=legend>{names}{more}</div>"


def _stat(prometheus: PrometheusDaemon, panel: Panel) -> str:
    value = prometheus.value(panel.queries[0][0]) or 0.0
    is_bad = any(value >= step["value"] for step in panel.steps if step["value"] is not None)
    return f"<div class='stat {'bad' if is_bad else 'good'}'>{quantity(value, panel.unit)}</div>"


def _table(prometheus: PrometheusDaemon, panel: Panel) -> str:
    found = prometheus.values(panel.queries[0][0])
    names = sorted({name for key in found for name, _ in key} - {"__name__", "job"})
    heads = "".join(f"<th>{name}</th>" for name in names)
    rows = ""
    for key, value in found.items():
        cells = "".join(f"<td>{html.escape(dict(key).get(name, ''))}</td>" for name in names)
        rows += f"<tr>{cells}<td>{value:g}</td></tr>"
    return f"<table><tr>{heads}<th>value</th></tr>{rows}</table>"


def page_of(prometheus: PrometheusDaemon, time: Time) -> str:
    """Return the dashboard as HTML, of this time."""
    parts, lowest = [], 0
    for each in DASHBOARD["panels"]:
        place = each["gridPos"]
        lowest = max(lowest, place["y"] + place["h"])
        if each["type"] == "row":
            parts.append(f"<h2 style='top:{place['y'] * LINE}px'>{each['title']}</h2>")
    for panel in panels(prometheus.target):
        width, height = panel.place["w"] * CELL - 6, panel.place["h"] * LINE - 6
        if panel.kind == "timeseries":
            lines = lines_of(prometheus, panel, time)
            drawn = _graph(panel, lines, time, width, height)
        else:
            drawn = _stat(prometheus, panel) if panel.kind == "stat" else _table(prometheus, panel)
        at = f"left:{panel.place['x'] * CELL + 3}px;top:{panel.place['y'] * LINE}px;width:{width}px;height:{height}px"
        parts.append(f"<div class=panel style='{at}'><h3>{html.escape(panel.title)}</h3>{drawn}</div>")
    whole = f"<body style='width:{WIDTH}px;height:{lowest * LINE}px'>{''.join(parts)}</body>"
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{whole}"


def picture(page: str, file: Path) -> None:
    """Have Chromium make a picture of a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": WIDTH, "height": 900})
        shown.set_content(page)
        shown.locator("body").screenshot(path=file)
        browser.close()
