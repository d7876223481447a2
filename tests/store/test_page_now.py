# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the page shows of this moment: incidents and hosts, as alerts and words of monitors come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.store.browsing import ROWS, OpenPage, send, some
from tests.store.serving import Store, post, tell, told


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


SENTENCE = "reader (pid 4711) is stopped; it has read nothing for 12 s, 3.1 MiB wait"


def a_pair(store: Store) -> None:
    """Send both ends of a connection within the host, the sender first."""
    whose: dict[str, Any] = {"unit": "reader.service", "container": "0123456789ab", "user": "www-data"}
    ends: dict[str, Any] = {"local_ip": "127.0.0.1", "remote_ip": "127.0.0.1"}
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


def test_a_host_that_falls_silent_is_soon_silent_everywhere(one: Store, open_page: OpenPage) -> None:
    about = {
        "event": "heartbeat",
        "host": "db9",
        "run": "r",
        "id": "r",
        "seq": "1",
        "heartbeat": "1.6",
        "version": "1",
    }
    assert tell(one, **about, timestamp=f"{time.time():.6f}").status_code == 200
    page = open_page(one)
    expect(page.locator("#hosts tbody tr")).to_contain_text("heard")
    expect(page.locator(".incident .said")).to_contain_text("host is silent")
    expect(page.locator("#hosts tbody tr")).to_contain_text("silent", timeout=4000)


def test_the_sockets_of_a_folded_alert_are_counted(one: Store, open_page: OpenPage) -> None:
    for number in range(1, 13):
        send(one, number, comm="redis", size=2_000_000 - number)
    send(one, 20, comm="redis", count=35, size=9_000_000)
    card = open_page(one).locator(".incident")
    card.get_by_role("button", name="Show 47 sockets").click()
    expect(card.locator(".members tbody tr")).to_have_count(10)
    expect(card.locator(".note")).to_have_text("The worst 44 of 47.")


@pytest.mark.parametrize(
    ("told_of_it", "drawn"),
    [
        ({"limit": 131_072, "fill": 98, "size": 96_358, "peak": 96_358, "threshold": 1024}, 980),
        ({"limit": 4_000_000, "size": 2_000_000, "peak": 2_000_000}, 500),
        ({"size": 1_205_862, "peak": 1_205_862}, 1000),
        ({"type": "ACCEPT", "limit": 128, "fill": 100, "size": 129, "peak": 129, "threshold": 128}, 1000),
    ],
)
def test_the_bar_is_as_full_as_the_kernel_finds_the_queue(
    one: Store, open_page: OpenPage, told_of_it: dict[str, Any], drawn: int
) -> None:
    send(one, 1, **told_of_it)
    size = open_page(one).locator(".fill .size")
    expect(size).to_have_count(1)
    assert abs(float(size.get_attribute("width") or 0) - drawn) < 2


def test_what_the_store_has_no_episode_of_is_not_called_over(one: Store, open_page: OpenPage) -> None:
    page = open_page(one)
    expect(page.locator(".well")).to_be_visible()
    post(
        one,
        {"id": "p1", "type": "RECV", "host": "web1", "comm": "posted", "timestamp": time.time(), "size": 5},
    )
    send(one, 1)
    expect(page.locator(f"{ROWS} .of-comm")).to_have_text(["nginx (4711)"])
