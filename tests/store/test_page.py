# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page in a real browser, on a real store, with alerts sent as the monitor sends them."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.store.browsing import OpenPage
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
ROWS = "#rows-body tr"


def send(store: Store, number: int, **changed: object) -> None:
    answer = tell(store, **told(number, timestamp=f"{time.time():.6f}", **changed))
    assert answer.status_code == 200, answer.text


def some(store: Store) -> None:
    send(store, 1, comm="nginx", local_port=443, size=3_000_000, peak=3_000_000)
    send(store, 2, comm="postgres", local_port=5432, type="SEND", size=2_000_000, peak=2_000_000)
    send(store, 3, comm="named", local_port=53, protocol="udp", size=9_000_000, peak=9_000_000)


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


@pytest.mark.parametrize("event", ["started", "stopped"])
def test_what_a_run_left_open_is_not_shown_over_once_another_has_started_or_it_has_stopped(
    one: Store, open_page: OpenPage, event: str
) -> None:
    page = open_page(one)
    send(one, 1, run="first")
    expect(page.locator(".incidents > li")).to_have_count(1)
    run = "second" if event == "started" else "first"
    about = {
        "event": event,
        "host": "web1",
        "run": run,
        "id": run,
        "seq": "3",
        "timestamp": f"{time.time():.6f}",
    }
    assert tell(one, **about).status_code == 200
    expect(page.locator("#open-count")).to_have_text("0")
    left = page.locator(".incidents > li")
    state = "ended" if event == "started" else "not heard of"
    expect(page.locator(f"{ROWS} .of-state")).to_have_text(state)
    if event == "started":
        expect(left).to_have_count(0)
        expect(page.locator(".well")).to_contain_text("Nothing is over on 1 host")
    else:
        expect(left.locator(".said")).to_have_text("◌ not heard of")


def test_a_monitor_that_polls_is_shown_and_a_host_on_which_nothing_is_over_is_said(
    one: Store, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(one)
    expect(page.locator(".well")).to_have_text("No monitor has been heard of yet.")
    about = {
        "event": "started",
        "version": "0.1.0",
        "run": "r",
        "id": "r",
        "seq": "3",
        "timestamp": f"{time.time():.6f}",
    }
    assert tell(one, **about, host="web1", mode="ebpf").status_code == 200
    expect(page.locator(".well")).to_contain_text("Nothing is over on 1 host, all heard of in the last")
    page.screenshot(path=tmp_path / "well.png")
    assert tell(one, **about, host="old9", mode="poll").status_code == 200
    card = page.locator(".incidents > li")
    expect(card.get_by_role("heading")).to_have_text("old9")
    expect(card.locator(".said")).to_have_text("● monitor does not see all")


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


def test_a_card_says_whether_its_queue_grows_or_drains(one: Store, open_page: OpenPage) -> None:
    page, at_s = open_page(one), time.time() - 100
    about = page.locator(".incidents > li .about")
    sizes = (2_097_152, 2_099_200, 2_099_200, 2_098_176)
    says = ("at its highest", "↗ grows, 1 KiB/s", "→ stands still", "↘ drains, 512 B/s")
    for seq, (size, said) in enumerate(zip(sizes, says, strict=True), start=1):
        fields = {"event": "exceeded" if seq == 1 else "ongoing", "seq": seq, "peak": max(sizes[:seq])}
        told_at = {"timestamp": f"{at_s + 2 * seq:.6f}", "duration": 2 * (seq - 1)}
        assert tell(one, **told(1, size=size, **fields, **told_at)).status_code == 200
        expect(about).to_contain_text(said)


def test_hosts_are_listed_with_what_they_watch_by(one: Store, open_page: OpenPage) -> None:
    about = {"event": "started", "version": "0.1.0", "kernel": "6.1", "run": "r", "id": "r", "seq": "3"}
    about["timestamp"] = f"{time.time():.6f}"
    silences = "process=rsync until 2026-11-30 00:00:00 UTC"
    assert tell(one, **about, host="web1", mode="ebpf", silences=silences).status_code == 200
    assert tell(one, **about | {"event": "stopped"}, host="db1", mode="ebpf").status_code == 200
    send(one, 1)
    page = open_page(one)
    hosts = page.locator("#hosts tbody tr")
    expect(hosts).to_have_count(2)
    expect(page.locator(".silenced")).to_have_text(f"Silenced on web1: {silences}")
    expect(page.locator("#hosts .reading")).to_have_text("2 hosts: 1 heard, 0 silent, 1 stopped.")
    for shown in ("heard", "all by hooks", "6.1"):
        expect(hosts.filter(has_text="web1")).to_contain_text(shown)
    expect(hosts.filter(has_text="db1")).to_contain_text("stopped")
    hosts.filter(has_text="web1").get_by_role("button").click()
    expect(page.locator("#text")).to_have_value('host="web1"')


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
    send(one, 1, **dict.fromkeys(names, HOSTILE[:200]), peer_pid=7, further=HOSTILE)
    page = open_page(one, fragment=f"#view={view}")
    expect(page.locator(f"{ROWS} .of-comm")).to_contain_text("<img src=x")
    expect(page.locator(f"{ROWS} .of-host")).to_contain_text("\\u{202e}")
    page.locator(ROWS).first.click()
    expect(page.locator("#socket-facts")).to_contain_text("<script>")
    expect(page.locator("#socket-why")).to_contain_text("\\u{202e}")
    assert page.evaluate(
        "window.ran === undefined && !document.querySelector('main img, .side img, .now img')"
    )


SENTENCE = "reader (pid 4711) is stopped; it has read nothing for 12 s, 3.1 MiB wait"


def a_pair(store: Store) -> None:
    """Send both ends of a connection within the host, the sender first."""
    whose = {"unit": "reader.service", "container": "0123456789ab", "user": "www-data"}
    ends = {"local_ip": "127.0.0.1", "remote_ip": "127.0.0.1"}
    send(
        store, 11, type="SEND", local_port=40000, remote_port=5432, comm="writer", pid=12312, size=3_000_000,
        cause="peer-not-reading", confidence="high", reason="the peer does not read: its window is 0",
        peer_id=f"{12:016x}", peer_pid=4711, peer_comm="reader", **ends,
    )  # fmt: skip
    send(
        store, 12, local_port=5432, remote_port=40000, comm="reader", size=2_000_000, cause="reader-stopped",
        confidence="high", reason=SENTENCE, peer_id=f"{11:016x}", peer_pid=12312, peer_comm="writer",
        **ends, **whose,
    )  # fmt: skip


@pytest.mark.parametrize("is_there_before", [True, False])
def test_both_ends_of_a_connection_are_one_incident(
    one: Store, open_page: OpenPage, tmp_path: Path, is_there_before: bool
) -> None:
    some(one)
    if is_there_before:
        a_pair(one)
    page = open_page(one)
    if not is_there_before:
        a_pair(one)
    expect(page.locator("#open-count")).to_have_text("5")
    expect(page.locator(".incidents > li")).to_have_count(4)
    pair = page.locator(".incidents > li", has_text="reader")
    expect(pair).to_have_count(1)
    expect(pair.get_by_role("heading")).to_have_text("reader.service on web1")
    for service in ("reader.service", "writer"):
        expect(page.locator("#before .lanes button", has_text=service)).to_contain_text("over now")
    expect(pair.locator(".reason")).to_have_text(SENTENCE)
    expect(pair.locator(".about")).to_have_text(
        "tcp 5432 to receive · 127.0.0.1:5432 ↔ 127.0.0.1:40000 · reader (4711) · "
        "at its highest · other end: writer (12312)"
    )
    expect(page.locator(ROWS)).to_have_count(5)
    expect(page.locator(f"{ROWS} .of-comm .below", has_text="reader.service")).to_have_count(1)
    expect(page.locator(ROWS, has_text="other end of tcp 5432 RECV, reader (4711)")).to_have_count(1)
    pair.get_by_role("button", name="Show 1 socket").click()
    pair.get_by_role("button", name="127.0.0.1:5432").click()
    expect(page.locator("#socket-why")).to_have_text(SENTENCE)
    for shown in ("reader.service", "0123456789ab", "www-data", "writer (12312)", "reader-stopped, high"):
        expect(page.locator("#socket")).to_contain_text(shown)
    page.screenshot(path=tmp_path / "pair.png")
    for typed in ("reader.service", "unit=reader.service", "cause=reader-stopped"):
        page.fill("#text", typed)
        expect(page.locator(ROWS)).to_have_count(1)
    page.fill("#text", "")
    send(one, 12, seq=1000, event="cleared", size=0)
    expect(page.locator(".incidents > li", has_text="writer").locator(".reason")).to_contain_text(
        "the peer does not read"
    )
    expect(page.locator("#open-count")).to_have_text("4")


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
