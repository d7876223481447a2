# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page in Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live.waiting import DEADLINE_S
from tests.store.serving import Store, tell, told

expect.set_options(timeout=DEADLINE_S * 1000)  # its own 5 s are a busy machine's time for one drawing

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

ROWS = "#rows-body tr"
"""The rows of the page's table."""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=FLAGS.split(), timeout=DEADLINE_S * 1000
        )
        yield made
        made.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open the page; a word on the console that is a warning or a fault, a violation too, fails the test."""
    faults: list[str] = []
    contexts = []

    def opened(
        store: Store, *, width: int = 1300, height: int = 900, scheme: str = "light", fragment: str = ""
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda said: faults.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.goto(f"{store.url}/{fragment}")
        expect(page.locator("#state-text")).to_have_text("live")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def send(store: Store, number: int, *, age_s: float = 0, **changed: Any) -> None:
    """Send an alert as the monitor does, of so many seconds ago."""
    answer = tell(store, **told(number, timestamp=f"{time.time() - age_s:.6f}", **changed))
    assert answer.status_code == 200, answer.text


def some(store: Store) -> None:
    send(store, 1, comm="nginx", local_port=443, size=3_000_000, peak=3_000_000)
    send(store, 2, comm="postgres", local_port=5432, type="SEND", size=2_000_000, peak=2_000_000)
    send(store, 3, comm="named", local_port=53, protocol="udp", size=9_000_000, peak=9_000_000)
