# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How soon the page shows what is wrong, and what becomes wrong while it is open, among a million alerts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

from bench.figure import Figure, median, percentile
from bench.now import OPEN, add_present
from bench.store import CHROMIUM, MILLION, filled, serving
from sockbpf.store.data.engine import open_engine
from tests.store.browsing import FLAGS
from tests.store.serving import Store, told

ROUNDS = 25
PAINT_GOAL_MS, LIVE_GOAL_MS = 300.0, 200.0
WATCH = """
    ([name, selector, text]) => {
        window.seen ??= {};
        window.seen[name] = new Promise((found) => {
            const all = () => [...document.querySelectorAll(selector)];
            const has = () => all().some((each) => each.textContent.includes(text));
            const look = () => has() && found(performance.timeOrigin + performance.now());
            new MutationObserver(look).observe(document, {childList: true, subtree: true, characterData: true});
            look();
        });
    }
"""
"""Promises the moment when an element that is found by `selector` has this text: Unix time in ms."""
PLACES = {"card": ".incidents > li", "row": "#rows-body tr"}
WHEN = ("which has just connected", "which is open")
"""When alerts come: while the page still draws what there was, and soon after that one."""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


@contextmanager
def opened(browser: Browser, store: Store) -> Iterator[Page]:
    """Open the page as who opens it for the first time."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    page.add_init_script(f"({WATCH})(['first', '{PLACES['card']}', ''])")
    page.goto(store.url)
    yield page
    context.close()


def _live_ms(page: Page, store: Store, number: int) -> dict[str, float]:
    """Send an alert of a new queue, the worst of all; return after how long its card and its row are there."""
    comm = f"new{number}"
    for name, selector in PLACES.items():
        page.evaluate(WATCH, [name, selector, comm])
    at = {"id": f"new{number}", "host": f"new{number}", "timestamp": f"{time.time():.6f}"}
    alert = told(number, **at, comm=comm, severity="critical", size=2**40, peak=2**40)
    begun_ms = time.time() * 1000
    assert requests.get(f"{store.url}/alert", params=alert, timeout=30).json() == {"new": True}
    return {name: page.evaluate(f"window.seen.{name}") - begun_ms for name in PLACES}


def _figure(what: str, values_ms: list[float], goal_ms: float) -> Figure:
    worst = percentile(values_ms, 0.99)
    return Figure(
        f"the page, {what}, the 99th of 100",
        "ms",
        (worst,),
        f"at most {goal_ms:g} ms",
        worst <= goal_ms,
        note=f"p50 {median(values_ms):.0f}, {len(values_ms)} times",
    )


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    count, rounds = (5000, 2) if quick else (MILLION, ROUNDS)
    painted: list[float] = []
    first: list[float] = []
    live: dict[tuple[str, str], list[float]] = {(when, name): [] for when in WHEN for name in PLACES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
        shutil.copy(filled(count), folder / "alerts.sqlite")
        url = f"sqlite:///{folder}/alerts.sqlite"
        store = stack.enter_context(serving(url))
        engine = open_engine(url, connections=1)
        stack.callback(engine.dispose)
        chromium = stack.enter_context(sync_playwright()).chromium
        browser = chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        stack.callback(browser.close)
        for number in range(rounds):
            if number % 20 == 0:
                add_present(engine)  # or what was told would be too old
            with opened(browser, store) as page:
                begun_ms = page.evaluate("performance.timeOrigin")
                first.append(page.evaluate("window.seen.first") - begun_ms)
                expect(page.locator("#state-text")).to_have_text("live")
                painted += [page.evaluate(PAINTED)] if page.evaluate(PAINTED) else []
                for again, when in enumerate(WHEN):
                    for name, took_ms in _live_ms(page, store, len(WHEN) * number + again).items():
                        live[when, name].append(took_ms)
    among = f"{count} alerts in SQLite, {OPEN} open of {OPEN} hosts"
    return [
        _figure(f"from the address to the first paint, {among}", painted, PAINT_GOAL_MS),
        _figure(f"from the address to the first incident, {among}", first, PAINT_GOAL_MS),
        *(
            _figure(f"{when}, from a new queue's alert to its {name}, {among}", values, LIVE_GOAL_MS)
            for (when, name), values in live.items()
        ),
    ]
