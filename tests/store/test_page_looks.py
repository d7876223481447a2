# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page without any finding of axe and without sideways scroll: wide and narrow, light and dark, in each view."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.store.browsing import ROWS, OpenPage, send
from tests.store.conftest import StartStore
from tests.store.looking import faults
from tests.store.serving import Store, tell


def some(store: Store) -> None:
    """Have queues be over for several reasons, one be back, and a monitor see less than all."""
    send(
        store, 1, comm="nginx", size=3_000_000, peak=3_000_000, limit=4_000_000, fill=75, severity="critical"
    )
    send(
        store,
        2,
        comm="postgres",
        type="SEND",
        cause="peer-not-reading",
        reason="the peer has not read for 12 s",
    )
    send(store, 3, comm="named", protocol="udp", drops=17, peer_pid=7, peer_comm="dig")
    send(store, 4, comm="rsync", event="ongoing", duration=5)
    send(store, 4, comm="rsync", event="cleared", seq=5, size=0, duration=7)
    about = {"event": "started", "version": "0.1.0", "run": "r", "id": "r", "seq": "3", "mode": "poll"}
    assert tell(store, **about, host="old9", timestamp=f"{time.time():.6f}").status_code == 200


def nothing_is_heard_of(page: Page) -> None:
    expect(page.locator(".well")).to_be_visible()


def an_incident_is_open(page: Page) -> None:
    page.get_by_role("button", name="Show 1 socket").first.click()
    expect(page.locator(".members tbody tr")).to_have_count(1)


def a_socket_is_chosen(page: Page) -> None:
    page.locator(ROWS).first.click()
    expect(page.locator("#series canvas")).to_be_visible()
    page.locator("#socket summary").click()


def alerts_are_listed(page: Page) -> None:
    page.get_by_role("radio", name="Alerts").check()
    expect(page.locator(ROWS)).not_to_have_count(4)
    page.locator("#before summary").click()


def nothing_fits(page: Page) -> None:
    page.fill("#text", "nobody")
    expect(page.locator("#rows-empty-act")).to_be_visible()


def a_time_is_asked_for(page: Page) -> None:
    page.select_option("#span", "between")
    expect(page.locator("#from")).to_be_visible()


def keys_are_listed(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()


VIEWS = (
    an_incident_is_open,
    a_socket_is_chosen,
    alerts_are_listed,
    nothing_fits,
    a_time_is_asked_for,
    keys_are_listed,
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (1300, 900)])
def test_axe_finds_nothing_in_any_view_and_none_scrolls_sideways(
    one: Store, open_page: OpenPage, tmp_path: Path, scheme: str, size: tuple[int, int]
) -> None:
    width, height = size
    found = {}
    for view in (nothing_is_heard_of, *VIEWS):
        page = open_page(one, width=width, height=height, scheme=scheme)
        view(page)
        page.screenshot(path=tmp_path / f"{view.__name__}.png", full_page=True)
        found[view.__name__] = faults(page, width)
        page.context.close()
        if view is nothing_is_heard_of:
            some(one)
    assert not {name: each for name, each in found.items() if each}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1300])
def test_axe_finds_nothing_where_the_token_is_asked_for(
    start: StartStore, browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    store = start(f"sqlite:///{tmp_path / 'alerts.sqlite'}", token="open-sesame")
    page = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme).new_page()
    page.goto(store.url)
    page.fill("#token", "wrong")
    page.click("#token-form button")
    expect(page.locator("#token-fault")).to_contain_text("did not take")
    found = faults(page, width)
    page.context.close()
    assert not found
