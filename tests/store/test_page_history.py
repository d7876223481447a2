# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history on the page: the fullest services, and that of the chosen socket with its threshold."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import expect

from tests.store.browsing import ROWS, OpenPage, send
from tests.store.history_lines import line
from tests.store.history_lines import send as tell
from tests.store.serving import Store

HOSTILE = '<img src=x onerror="window.ran=1">\u202egnp'
LANES = "#history .lanes svg"


def told(store: Store) -> None:
    """Tell of the last minutes: a queue that stands over, one that comes and goes, one with a hostile name."""
    now_s = int(time.time()) // 10 * 10
    times = list(range(now_s - 800, now_s, 10))
    up = [min(20_000 * step, 1_400_000) for step in range(len(times))]
    waves = [step % 20 * 9000 for step in range(len(times))]
    small = {"fill": [3] * len(times)}
    answer = tell(
        store,
        line(times, up, type="RECV", fill=[size // 20_000 for size in up]),
        line(times[::3], waves[::3], service="5432"),
        line(times, waves, service=HOSTILE, **small),
        line(times, waves, service="other", host="web2", type="RECV", **small),
    )
    assert answer.json()["refused"] == []


def test_the_fullest_services_are_drawn(one: Store, open_page: OpenPage, tmp_path: Path) -> None:
    told(one)
    page = open_page(one)
    expect(page.locator(LANES)).to_have_count(4)
    names = page.locator("#history .lanes > p:not(.axis)")
    expect(names.nth(1)).to_contain_text("nginx.service tcp RECV")
    expect(page.locator("#history")).to_contain_text("<img src=x")
    expect(page.locator("#history")).to_contain_text("\\u{202e}")
    assert page.evaluate("window.ran === undefined && !document.querySelector('#history img')")
    page.get_by_role("img", name="nginx.service tcp RECV: up to 1.34 MiB, 70 % full").hover()
    expect(page.locator("#history .reading")).to_contain_text("nginx.service tcp RECV")
    expect(page.locator("#history .reading")).to_contain_text("% full")
    page.select_option("#type", "SEND")
    expect(page.locator(LANES)).to_have_count(2)
    expect(page.locator("#fault")).to_be_hidden()
    page.screenshot(path=tmp_path / "history.png", full_page=True)


def test_a_chosen_socket_has_its_service_with_the_threshold(
    one: Store, open_page: OpenPage, tmp_path: Path
) -> None:
    told(one)
    send(one, 1, comm="nginx", unit="nginx.service", size=1_400_000)
    for width in (1300, 390):
        page = open_page(one, width=width)
        page.locator(ROWS).first.click()
        expect(page.locator(LANES)).to_have_count(1)
        expect(page.locator("#history .threshold")).to_have_count(1)
        expect(page.locator("#history .reading")).to_contain_text("the line is the threshold")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=tmp_path / f"chosen-{width}.png", full_page=True)
        page.click("#socket-close")
        expect(page.locator(LANES)).to_have_count(4)


def test_the_service_of_a_chosen_socket_is_found_among_many_or_said_to_be_missing(
    one: Store, open_page: OpenPage
) -> None:
    told(one)
    times = [int(time.time()) // 10 * 10 - 30]
    fuller = [line(times, [9_000_000], service=f"{number}", type="RECV", fill=[99]) for number in range(25)]
    assert tell(one, *fuller).json()["refused"] == []
    send(one, 1, comm="nginx", unit="nginx.service", size=1_400_000)
    send(one, 2, comm="other", unit="run-u7.service", local_port=40_001, size=1_300_000)
    send(one, 3, comm="caddy", unit="docker-1234.scope", local_port=7, size=1_200_000)
    page = open_page(one)
    expect(page.locator(LANES)).to_have_count(6)
    for comm, lane in (("nginx", "nginx.service tcp RECV"), ("caddy", "7 tcp RECV")):
        page.locator(ROWS).filter(has_text=comm).first.click()
        expect(page.locator(LANES)).to_have_count(1)
        expect(page.locator("#history .lanes > p").first).to_contain_text(lane)
        expect(page.locator("#history .threshold")).to_have_count(1)
    page.locator(ROWS).filter(has_text="other").first.click()
    expect(page.locator("#history .empty")).to_contain_text("by the name run-u7.service or 40001")
    expect(page.locator(LANES)).to_have_count(0)


def test_where_nothing_is_kept_it_says_so(one: Store, open_page: OpenPage) -> None:
    page = open_page(one)
    expect(page.locator("#history .empty")).to_contain_text("Nothing is kept of this time. A monitor tells")
