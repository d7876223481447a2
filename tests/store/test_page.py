# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page in a real browser, on a real store, with alerts sent as the monitor sends them."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.store.browsing import ROWS, OpenPage, send, some
from tests.store.conftest import StartStore
from tests.store.serving import Store, tell, told

PAGE = Path(__file__).parents[2] / "sockbpf/store/page"
LIBRARIES = {
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "preact.esm.js": "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
}
"""SHA-256 of `dist/uPlot.esm.js` in the npm package uplot 1.6.32, of `preact/standalone.module.js` in htm 3.1.1."""

HOSTILE = (
    '<img src=x onerror="window.ran=1"><script>window.ran=1</script>\u202egnp.exe\u200f\' or 1=1 --'
    + "x" * 150
)


def test_the_libraries_are_those_of_their_packages() -> None:
    assert {name: sha256((PAGE / name).read_bytes()).hexdigest() for name in LIBRARIES} == LIBRARIES


def test_typing_narrows_the_table_and_the_link_says_so(one: Store, open_page: OpenPage) -> None:
    some(one)
    page = open_page(one)
    expect(page.locator(ROWS)).to_have_count(3)
    for typed, found in (("post", 1), ("443", 1), ("198.51.100.0/24", 3), ("udp", 1), ("nobody", 0)):
        page.fill("#text", typed)
        expect(page.locator(ROWS)).to_have_count(found)
    page.fill("#text", "comm=named")
    expect(page.locator(ROWS)).to_have_count(1)
    page.wait_for_url("**/#text=comm%3Dnamed")
    expect(open_page(one, fragment="#text=comm%3Dnamed").locator(ROWS)).to_have_count(1)


def test_a_word_finds_an_old_episode_that_is_not_loaded(one: Store, open_page: OpenPage) -> None:
    old = told(0, timestamp=f"{time.time() - 86_400:.6f}", comm="rsync", unit="Nightly-Backup.service")
    assert tell(one, **old).ok
    for number in range(1, 302):  # one more than the page loads
        send(one, number)
    page = open_page(one, fragment="#span=all")
    expect(page.locator("#shown")).to_contain_text("300+ rows")
    expect(page.locator(ROWS, has_text="rsync")).to_have_count(0)
    for typed in ("nightly", "night web1", '"y-backup" tcp', "rsync"):
        page.fill("#text", typed)
        expect(page.locator(ROWS)).to_have_count(1)
        expect(page.locator(f"{ROWS} .of-comm")).to_contain_text("rsync")


def test_a_head_sorts(one: Store, open_page: OpenPage) -> None:
    some(one)
    page = open_page(one)
    page.click("th.of-peak button")
    expect(page.locator("th.of-peak")).to_have_attribute("aria-sort", "descending")
    expect(page.locator(f"{ROWS}:first-child .of-comm")).to_contain_text("named")
    page.click("th.of-peak button")
    expect(page.locator(f"{ROWS}:first-child .of-comm")).to_contain_text("postgres")


def test_an_alert_appears_while_the_page_is_open(one: Store, open_page: OpenPage) -> None:
    page = open_page(one)
    expect(page.locator("#rows-empty-text")).to_contain_text("No episode")
    send(one, 1, comm="late")
    expect(page.locator(f"{ROWS} .of-comm")).to_contain_text("late")
    expect(page.locator(".incidents > li")).to_have_count(1)
    send(one, 1, comm="late", event="cleared", seq=2, size=0)
    expect(page.locator(f"{ROWS} .of-state")).to_have_text("ended")
    expect(page.locator(".incidents > li")).to_have_count(0)


def test_what_was_is_drawn_by_service_and_a_name_narrows_all(
    one: Store, open_page: OpenPage, tmp_path: Path
) -> None:
    for number, comm in enumerate(("nginx", "redis", "rsync"), 1):
        send(one, number, comm=comm, event="ongoing", duration=5)
    send(one, 3, comm="rsync", event="cleared", seq=50, size=0, duration=7)
    page = open_page(one)
    lanes = page.locator("#before .lanes button")
    expect(lanes).to_have_count(3)
    expect(lanes.filter(has_text="nginx")).to_contain_text("over now")
    expect(lanes.filter(has_text="rsync")).to_have_text("rsync")
    expect(page.get_by_role("img", name="rsync: over for 7.0 s in all")).to_be_visible()
    page.screenshot(path=tmp_path / "before.png", full_page=True)
    lanes.filter(has_text="nginx").click()
    expect(page.locator("#text")).to_have_value('comm="nginx"')
    for narrowed in (page.locator(ROWS), page.locator(".incidents > li"), lanes):
        expect(narrowed).to_have_count(1)
    expect(page.locator("#now .note")).to_have_text("1 further incident does not fit the filter.")


def test_a_chosen_socket_shows_its_sizes(one: Store, open_page: OpenPage, tmp_path: Path) -> None:
    some(one)
    page = open_page(one)
    page.locator(ROWS).first.click()
    expect(page.locator("#series canvas")).to_be_visible()
    assert "1 alerts" in (page.locator("#series").get_attribute("aria-label") or "")
    page.screenshot(path=tmp_path / "chosen.png")


@pytest.mark.parametrize("view", ["episodes", "alerts"])
def test_hostile_texts_are_shown_as_text(one: Store, open_page: OpenPage, view: str) -> None:
    names = ("comm", "host", "reason", "unit", "container", "user", "peer_comm")
    texts: dict[str, Any] = dict.fromkeys(names, HOSTILE[:200])
    send(one, 1, **texts, peer_pid=7, further=HOSTILE)
    page = open_page(one, fragment=f"#view={view}")
    expect(page.locator(f"{ROWS} .of-comm")).to_contain_text("<img src=x")
    expect(page.locator(f"{ROWS} .of-host")).to_contain_text("\\u{202e}")
    page.locator(ROWS).first.click()
    expect(page.locator("#socket-facts")).to_contain_text("<script>")
    expect(page.locator("#socket-why")).to_contain_text("\\u{202e}")
    assert page.evaluate(
        "window.ran === undefined && !document.querySelector('main img, .side img, .now img')"
    )


def test_a_socket_is_chosen_by_keys_alone(one: Store, open_page: OpenPage) -> None:
    some(one)
    page = open_page(one)
    expect(page.locator(ROWS)).to_have_count(3)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#rows-body button')"):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(f"{ROWS}:nth-child(2)")).to_have_attribute("aria-current", "true")
    expect(page.locator("#socket")).to_be_visible()


def test_the_page_asks_for_the_token(start: StartStore, browser: Browser, tmp_path: Path) -> None:
    store = start(f"sqlite:///{tmp_path / 'alerts.sqlite'}", token="open-sesame")
    context = browser.new_context()
    page = context.new_page()
    page.goto(store.url)
    page.fill("#token", "wrong")
    page.click("#token-form button")
    expect(page.locator("#token-fault")).to_contain_text("did not take")
    page.fill("#token", "open-sesame")
    page.click("#token-form button")
    expect(page.locator("#state-text")).to_have_text("live")
    expect(page.locator("#token-dialog")).to_be_hidden()
    context.close()
