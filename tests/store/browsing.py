# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.store.serving import Store

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS.split())
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
