# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page of many hosts: what is wrong on several is one card, and hosts are found by what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.store.browsing import OpenPage
from tests.store.looking import faults
from tests.store.now_telling import ABOUT, READER, age, say
from tests.store.serving import Store

HOSTS = 24
WAITS = {
    "type": "SEND",
    "remote_ip": "10.0.0.5",
    "remote_port": 5432,
    "comm": "shop",
    "cause": "peer-not-answering",
}


def fleet(store: Store) -> None:
    """Have ten hosts wait for one database, five be silent together, and four poll."""
    for number in range(HOSTS):
        dc = "fra1" if number < 12 else "ams1"
        mode = {"mode": "poll", "version": "0.9"} if number >= 20 else {}
        labels = f"dc={dc};role={'db' if number % 6 == 0 else 'web'}"
        say(store, number, event="heartbeat", host=f"web{number}", labels=labels, **ABOUT | mode)
        if number < 10:
            ends = {"local_ip": f"10.1.0.{number}", "local_port": 40000 + number}
            why = {
                "reason": "nothing was acknowledged for 15 s while 2 MiB wait",
                "limit": 4_000_000,
                "fill": 60,
            }
            say(store, 100 + number, host=f"web{number}", size=2_000_000 + number, **WAITS, **ends, **why)
    for number in range(12, 17):
        age(store, 1000, f"web{number}")


def test_what_is_wrong_on_many_hosts_is_one_card(one: Store, open_page: OpenPage) -> None:
    fleet(one)
    page = open_page(one)
    cards = page.locator(".incidents > li")
    expect(cards).to_have_count(3)
    service = cards.filter(has_text="10.0.0.5:5432")
    expect(service.get_by_role("heading")).to_have_text("10.0.0.5:5432 from 10 hosts, the worst is web9")
    expect(service).to_contain_text(
        "10 hosts cannot send to 10.0.0.5:5432 (shop): web9, web8, web7, web6, web5, web4 and 4 more"
    )
    service.get_by_role("button", name="Show 10 sockets").click()
    expect(service.locator(".members tbody tr")).to_have_count(10)
    expect(service.locator(".members tbody tr").nth(1)).to_contain_text("web8")
    say(one, 200, host="db1", unit="postgresql.service", local_ip="10.0.0.5", local_port=5432, **READER)
    expect(cards.filter(has_text="postgresql.service").get_by_role("heading")).to_have_text(
        "postgresql.service on db1"
    )
    expect(cards).to_have_count(3)
    silent = cards.filter(has_text="hosts are silent")
    expect(silent.get_by_role("heading")).to_have_text("5 hosts")
    silent.get_by_role("heading").get_by_role("button").click()
    expect(page.get_by_label("Find", exact=True)).to_have_value("state=silent dc=ams1")
    expect(page.locator("#hosts tbody tr")).to_have_count(5)
    expect(cards.filter(has_text="monitors do not see all").get_by_role("heading")).to_have_text("4 hosts")


def test_hosts_are_found_by_what_they_are(one: Store, open_page: OpenPage) -> None:
    fleet(one)
    page = open_page(one)
    rows = page.locator("#hosts tbody tr")
    expect(rows).to_have_count(HOSTS)
    expect(rows.first).to_contain_text("silent")
    expect(rows.nth(5)).to_contain_text("polling")
    kinds = page.locator(".kinds")
    expect(kinds.get_by_role("button", name="silent 5")).to_be_visible()
    for name, count in (("fra1 12", 12), ("db 4", 2), ("silent 5", 0)):
        kinds.get_by_role("button", name=name).click()
        expect(kinds.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        expect(rows).to_have_count(count)
    expect(page.locator("#hosts .empty")).to_have_text("No host fits.")
    assert "hosts=dc%3Dfra1+role%3Ddb+state%3Dsilent" in page.url
    page.go_back()
    expect(rows).to_have_count(2)
    page.get_by_label("Find", exact=True).fill("WEB2 blind=true")
    expect(rows).to_have_count(4)
    page.reload()
    expect(rows).to_have_count(4)
    page.get_by_label("Find", exact=True).fill("version=0.9")
    expect(rows).to_have_count(4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (1300, 900)])
def test_axe_finds_nothing(
    one: Store, open_page: OpenPage, tmp_path: Path, scheme: str, size: tuple[int, int]
) -> None:
    fleet(one)
    page = open_page(one, width=size[0], height=size[1], scheme=scheme)
    expect(page.locator("#hosts tbody tr")).to_have_count(HOSTS)
    page.locator(".kinds").get_by_role("button", name="fra1 12").click()
    expect(page.locator("#hosts tbody tr")).to_have_count(12)
    page.get_by_role("button", name="Show 10 sockets").click()
    expect(page.locator(".members tbody tr")).to_have_count(10)
    page.screenshot(path=tmp_path / "fleet.png", full_page=True)
    assert not faults(page, size[0])
