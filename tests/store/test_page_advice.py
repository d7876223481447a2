# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Advice on the page: asked for under the history of a service, corrected by the reader, copied; no name misleads."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.store.advised_services import fill, tell_each_night
from tests.store.browsing import OpenPage
from tests.store.history_lines import line, send
from tests.store.looking import faults
from tests.store.serving import Store

PANEL = "#history .advice"
HOSTILE = '<img src=x onerror="window.ran=1">\u202e'
BAD_NAME = "<b>\u202e\n'"


def told_of(store: Store) -> None:
    """Have it know of backups each night, one by a hostile process, and of a hostile service."""
    fill(store)
    times = [int(time.time()) // 10 * 10 - 10 * step for step in range(30, 0, -1)]
    lines = [line(times, [9000] * len(times), service=each) for each in ("873", "9", HOSTILE)]
    assert send(store, *lines).json()["refused"] == []
    tell_each_night(store, 50, local_port=9, comm=BAD_NAME)


def open_advice(page: Page, service: str) -> None:
    page.get_by_role("button", name=f"Advice for {service}").first.click()
    expect(page.locator(PANEL)).to_have_attribute("aria-busy", "false")


def test_what_others_would_have_told_and_the_rule_to_copy(one: Store, open_page: OpenPage) -> None:
    told_of(one)
    page = open_page(one)
    expect(page.locator(PANEL)).to_have_count(0)
    open_advice(page, "873 tcp")
    expect(page.locator("#advice-title")).to_be_focused()
    panel = page.locator(PANEL)
    expect(panel.locator(".why")).to_contain_text(
        "5 of them of rsync, between 02:00 and 03:00: a rule for it, 8MiB"
    )
    expect(panel).to_contain_text("Assumed: 1MiB, as last told; for 10 s, the default with it")
    rows = panel.locator("tbody tr")
    expect(rows.filter(has_text="8 MiB").first).to_contain_text("neverexact")
    expect(panel.locator("tr[aria-current]")).to_have_text("1 MiB10 s5 timesexactnow")
    rule = panel.locator("pre").inner_text()
    assert json.loads(rule.splitlines()[-1].removeprefix("  - "))["match"]["process"] == "rsync"
    panel.get_by_role("button", name="Copy").click()
    expect(panel.locator(".rules button")).to_have_text(re.compile("Copied|Selected"))
    assert page.evaluate("getSelection().toString()").strip() == rule.strip()

    page.fill("#advice-hold", "0")
    page.fill("#advice-threshold", "64KiB")
    page.press("#advice-threshold", "Enter")
    expect(panel).to_contain_text("Assumed: 64KiB, as asked; without a hold, as asked")
    page.fill("#advice-threshold", "many")
    panel.get_by_role("button", name="Ask").click()
    assert page.evaluate("document.getElementById('advice-threshold').validity.patternMismatch")
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_have_count(0)


def test_what_the_store_refuses_is_said(one: Store, browser: Browser) -> None:
    told_of(one)
    page = browser.new_page()
    page.goto(one.url)
    open_advice(page, "873 tcp")
    page.fill("#advice-threshold", "9GiB")
    page.press("#advice-threshold", "Enter")
    panel = page.locator(PANEL)
    expect(panel.get_by_role("status")).to_have_text("The store says: threshold: expected 0 to 2147483647")
    expect(panel.locator("table")).to_have_count(0)
    one.stop()
    page.fill("#advice-threshold", "")
    page.press("#advice-threshold", "Enter")
    expect(panel.get_by_role("status")).to_have_text("The store cannot be reached.")
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1300, "light")])
def test_names_mislead_nobody_and_axe_finds_nothing(
    one: Store, open_page: OpenPage, tmp_path: Path, width: int, scheme: str
) -> None:
    told_of(one)
    page = open_page(one, width=width, scheme=scheme)
    open_advice(page, "873 tcp")
    page.screenshot(path=tmp_path / "advice.png", full_page=True)
    assert not faults(page, width)
    open_advice(page, "<img src=x")
    panel = page.locator(PANEL)
    expect(page.locator("#advice-title")).to_contain_text('<img src=x onerror="window.ran=1">\\u{202e}')
    expect(panel.locator(".why")).to_contain_text("no rule can name")
    open_advice(page, "9 tcp")
    expect(panel.locator(".why")).to_contain_text("<b>\\u{202e}\\u{a}'")
    expect(panel.locator("pre")).to_have_count(0)
    assert page.evaluate("window.ran === undefined && !document.querySelector('#history :is(img, b)')")
    page.screenshot(path=tmp_path / "hostile.png", full_page=True)
    assert not faults(page, width)
