# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an operator asks of the page, each from a fresh page, in at most three actions: a click, a key, a text."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.live.programs.told_of import table
from tests.store.browsing import OpenPage, send
from tests.store.serving import Store, tell

MOST = 3
"""Actions."""
HOUR_S = 3600
BEAT_S = 0.5
BEGAN_S = time.time() // 1
"""When the worst began, as it tells."""
WHY = "reader (pid 4711) is stopped; it has read nothing for 12 s, 3.1 MiB wait"
COMMAND = "ss -tanmpie 'src 192.0.2.1:5432 and dst 198.51.100.7:40000'"


class Walk:
    """A fresh page, and how much was done on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.actions = 0

    def click(self, role: str, name: str, within: Locator | None = None) -> None:
        self.actions += 1
        (within or self.page).get_by_role(role, name=name, exact=True).click()  # type: ignore[arg-type]

    def press(self, key: str) -> None:
        self.actions += 1
        self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.actions += 1
        field = self.page.get_by_role("searchbox", name="Filter")
        field.fill(text)
        field.press("Enter")

    def select(self, name: str, option: str) -> None:
        self.actions += 1
        self.page.get_by_role("combobox", name=name).select_option(option)

    def back(self) -> None:
        self.actions += 1
        self.page.go_back()

    @property
    def cards(self) -> Locator:
        return self.page.get_by_role("region", name="Now").get_by_role("article")

    @property
    def rows(self) -> Locator:
        return (
            self.page.get_by_role("table", name="Table")
            .get_by_role("row")
            .filter(has=self.page.get_by_role("cell"))
        )


def some(store: Store) -> None:
    """Have three services be over, one have been over half an hour ago, and a host fall silent."""
    send(store, 1, comm="nginx", local_port=443, size=3_000_000, peak=3_000_000)
    send(
        store, 2, comm="reader", local_port=5432, remote_port=40000, size=9_000_000, peak=9_000_000,
        severity="critical", cause="reader-stopped", confidence="high", reason=WHY,
        duration=f"{time.time() - BEGAN_S:.6f}", event="ongoing",
    )  # fmt: skip
    send(store, 3, comm="named", local_port=53, protocol="udp", size=2_000_000, peak=2_000_000)
    send(store, 4, age_s=HOUR_S / 2, comm="rsync", local_port=873)
    send(
        store,
        4,
        age_s=HOUR_S / 2 - 9,
        comm="rsync",
        local_port=873,
        event="cleared",
        seq=5,
        size=0,
        duration=9,
    )
    about = {
        "event": "heartbeat",
        "host": "db9",
        "run": "r",
        "id": "r",
        "heartbeat": str(BEAT_S),
        "version": "1",
    }
    assert tell(store, **about, seq="6", timestamp=f"{time.time():.6f}").status_code == 200


def the_worst(walk: Walk) -> str:
    return walk.cards.first.get_by_role("heading").inner_text()


def who(walk: Walk) -> str:
    expect(walk.cards.first).to_contain_text("(pid 4711)")
    return "pid 4711"


def why(walk: Walk) -> str:
    expect(walk.cards.first).to_contain_text(WHY)
    return WHY


def since(walk: Walk) -> str:
    at = walk.cards.first.get_by_role("time").get_attribute("datetime") or ""
    return f"{datetime.fromisoformat(at).timestamp():.0f}"


def only_this_service(walk: Walk) -> str:
    walk.click("button", "reader", walk.cards.first)
    expect(walk.cards).to_have_count(1)
    expect(walk.rows).to_have_count(1)
    return walk.rows.inner_text().split("\t")[4].split("\n")[0]


def the_last_hour(walk: Walk) -> str:
    walk.select("Time", "last hour")
    expect(walk.rows).to_have_count(4)
    return f"{walk.rows.count()} rows"


def silent_hosts(walk: Walk) -> str:
    silent = walk.cards.filter(has_text="host is silent")
    expect(silent).to_have_count(1)
    return silent.get_by_role("heading").inner_text()


def the_command(walk: Walk) -> str:
    walk.click("button", "Show 1 socket", walk.cards.first)
    walk.click("button", "192.0.2.1:5432 ↔ 198.51.100.7:40000", walk.cards.first)
    walk.click("button", "Copy")
    expect(walk.page.get_by_role("button", name="Copied")).to_be_visible()
    return str(walk.page.evaluate("navigator.clipboard.readText()"))


def a_table_for_others(walk: Walk) -> str:
    walk.type("comm=reader")
    expect(walk.rows).to_have_count(1)
    with walk.page.expect_download() as download:
        walk.click("button", "CSV")
    with Path(download.value.path()).open(newline="") as file:
        return ", ".join(row["comm"] for row in csv.DictReader(file))


def back(walk: Walk) -> str:
    walk.click("button", "reader", walk.cards.first)
    expect(walk.rows).to_have_count(1)
    walk.back()
    expect(walk.rows).to_have_count(3)
    return f"{walk.rows.count()} rows"


TASKS: tuple[tuple[Callable[[Walk], str], str], ...] = (
    (the_worst, "reader on web1"),
    (who, "pid 4711"),
    (why, WHY),
    (since, f"{BEGAN_S:.0f}"),
    (only_this_service, "192.0.2.1:5432"),
    (the_last_hour, "4 rows"),
    (silent_hosts, "db9"),
    (the_command, COMMAND),
    (a_table_for_others, "reader"),
    (back, "3 rows"),
)


def test_ten_tasks_take_at_most_three_actions(one: Store, open_page: OpenPage) -> None:
    some(one)
    rows = []
    for task, wanted in TASKS:
        page = open_page(one)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        walk = Walk(page)
        expect(walk.cards).to_have_count(4, timeout=20_000)
        expect(walk.rows).to_have_count(3)
        answer = task(walk)
        rows.append([task.__name__.replace("_", " "), str(walk.actions), answer])
        assert wanted in answer, rows[-1]
        assert walk.actions <= MOST, rows[-1]
        page.context.close()
    print(table(("task", "actions", "answer"), rows))


def test_back_and_forward_close_and_show_a_socket(one: Store, open_page: OpenPage) -> None:
    some(one)
    page = open_page(one)
    socket = page.get_by_role("region", name="Socket")
    page.get_by_role("button", name="192.0.2.1:5432 ↔ 198.51.100.7:40000").click()
    expect(socket).to_contain_text(WHY)
    page.go_back()
    expect(page.get_by_role("article").first).to_be_visible()
    expect(socket).to_have_count(0)
    page.go_forward()
    expect(socket).to_contain_text(WHY)
