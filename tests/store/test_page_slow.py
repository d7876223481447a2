# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page at a store whose answers take long."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import expect

from tests.store.browsing import OpenPage
from tests.store.conftest import StartStore
from tests.store.serving import tell, told

SLOW = """() => {
    const asked = fetch;
    window.fetch = async (url, options) => {
        if (String(url).startsWith("now")) await new Promise((done) => setTimeout(done, 700));
        return asked(url, options);
    };
}"""
DEADLINE_S = 30


def test_a_slow_answer_is_waited_for_while_alerts_keep_coming(
    start: StartStore, tmp_path: Path, open_page: OpenPage
) -> None:
    store = start(f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    page = open_page(store)
    expect(page.locator(".well")).to_be_visible()
    page.evaluate(SLOW)
    begun_s, number = time.monotonic(), 0
    while not page.locator(".incidents > li").count():
        number += 1
        assert tell(store, **told(number, timestamp=f"{time.time():.6f}")).ok
        assert time.monotonic() < begun_s + DEADLINE_S, "each question gave up the one before"
