# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page at a store whose answers take long."""

from __future__ import annotations

import time

from playwright.sync_api import expect

from tests.store.browsing import OpenPage, send
from tests.store.serving import Store

SLOW = """() => {
    const asked = fetch;
    window.fetch = async (url, options) => {
        if (String(url).startsWith("now")) await new Promise((done) => setTimeout(done, 700));
        return asked(url, options);
    };
}"""
HANGS = """() => {
    const [asked, later] = [fetch, setTimeout];
    window.setTimeout = (done, ms) => later(done, ms === 15_000 ? 300 : ms);
    window.hangs = true;
    window.fetch = (url, options) => {
        if (!window.hangs || !String(url).startsWith("now")) return asked(url, options);
        return new Promise((_, reject) => options.signal.onabort = () => reject(options.signal.reason));
    };
}"""
"""Has no answer come of what is wrong now, and shortens how long one is waited for."""
DEADLINE_S = 30


def test_a_slow_answer_is_waited_for_while_alerts_keep_coming(one: Store, open_page: OpenPage) -> None:
    page = open_page(one)
    expect(page.locator(".well")).to_be_visible()
    page.evaluate(SLOW)
    begun_s, number = time.monotonic(), 0
    while not page.locator(".incidents > li").count():
        number += 1
        send(one, number)
        assert time.monotonic() < begun_s + DEADLINE_S, "each question gave up the one before"


def test_an_answer_that_never_comes_is_given_up(one: Store, open_page: OpenPage) -> None:
    page = open_page(one)
    expect(page.locator(".well")).to_be_visible()
    page.evaluate(HANGS)
    send(one, 1)
    expect(page.locator("#fault")).to_have_text("The store cannot be reached.")
    page.evaluate("window.hangs = false")
    expect(page.locator(".incidents > li")).to_have_count(1, timeout=DEADLINE_S * 1000)
    expect(page.locator("#fault")).to_be_hidden()
