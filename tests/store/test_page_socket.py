# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One queue on the page: its chart with limit and fill, the rule that applied, its other end, earlier episodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.store.browsing import OpenPage, send
from tests.store.serving import Store

MIB = 2**20
HOUR_S = 3600
WHOSE = {
    "container": "0123456789ab", "container_name": "shop-web-1", "cgroup": "/system.slice/docker-01.scope",
    "netns_name": "blue", "cmdline": "nginx: worker process",
}  # fmt: skip
OWNED = (
    *("Containershop-web-1, 0123456789ab", "Cgroup/system.slice/docker-01.scope"),
    *("Namespaceblue, ", "Command linenginx: worker process"),
)
COLOURED = """names => {
  const probe = document.body.appendChild(document.createElement("i"));
  const colours = names.map((name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color.match(/[0-9]+/g).map(Number);
  });
  probe.remove();
  const canvas = document.querySelector("#series canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = names.map(() => []);
  for (let at = 0; at < data.length; at += 4)
    for (const [place, colour] of colours.entries())
      if (data[at + 3] > 99 && colour.every((part, of) => Math.abs(data[at + of] - part) < 30))
        found[place].push((at / 4) % canvas.width / canvas.width);
  return found;
}"""
"""Where in the chart, from 0 at the left to 1 at the right, there are pixels of about these colours of page.css."""


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="Socket")


def chosen(page: Page, name: str) -> Locator:
    page.get_by_role("table", name="Table").get_by_role("button", name=name).first.click()
    return panel(page)


def test_limit_and_fill_are_drawn_read_out_and_listed(
    one: Store, open_page: OpenPage, tmp_path: Path
) -> None:
    for seq, (size, fill) in enumerate(((2 * MIB, 51), (3 * MIB, 76), (3 * MIB + 1, 77)), 1):
        about = {"seq": seq, "size": size, "peak": size, "duration": seq, "event": "ongoing"}
        send(
            one, 1, age_s=30 - seq, id="1", limit=4 * MIB, fill=fill, drops=17, crossings=19, **about, **WHOSE
        )
    page = open_page(one)
    socket = chosen(page, "192.0.2.1:8443")
    chart = socket.get_by_role(
        "img", name=re.compile("Last size 3 MiB, threshold 1 MiB, 77 % of 4 MiB in use")
    )
    expect(chart).to_be_visible()
    page.screenshot(path=tmp_path / "socket.png")
    drawn = page.evaluate(COLOURED, ["accept", "text", "over", "good"])
    assert min(len(each) for each in drawn[:3]) > 20
    assert not drawn[3]
    for fact in ("Limit4 MiB", "Full77 %", "Crossed19 times", "Dropped17", *OWNED):
        expect(socket).to_contain_text(fact)
    socket.get_by_text("As a table").click()
    expect(socket.get_by_role("row").nth(3)).to_have_text(
        re.compile(r"2 MiB\s*2 MiB\s*1 MiB\s*4 MiB\s*51 %$")
    )
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    expect(socket).to_contain_text(re.compile(r"\d: 3 MiB of 4 MiB, 76 % full, peak 3 MiB, threshold 1 MiB"))


def test_a_single_alert_is_in_the_middle_of_its_chart(one: Store, open_page: OpenPage) -> None:
    send(one, 1)
    page = open_page(one)
    expect(chosen(page, "192.0.2.1:8443").get_by_role("img")).to_be_visible()
    (drawn,) = page.evaluate(COLOURED, ["size"])
    assert 0.4 < min(drawn) <= max(drawn) < 0.8


@pytest.mark.parametrize(("rule", "shown"), [("backup", "backup"), (None, "default")])
def test_the_rule_that_applied_is_named(
    one: Store, open_page: OpenPage, rule: str | None, shown: str
) -> None:
    applied: dict[str, Any] = {"rule": rule} if rule else {}
    send(one, 1, **applied)
    expect(chosen(open_page(one), "192.0.2.1:8443")).to_contain_text(f"Rule{shown}")


def test_the_other_end_is_a_link_that_chooses_it(one: Store, open_page: OpenPage) -> None:
    reader: dict[str, Any] = {
        "id": "0b",
        "local_ip": "127.0.0.1",
        "local_port": 5432,
        "remote_ip": "127.0.0.1",
        "remote_port": 40000,
    }
    writer: dict[str, Any] = {
        "id": "0a",
        "local_ip": "127.0.0.1",
        "local_port": 40000,
        "remote_ip": "127.0.0.1",
        "remote_port": 5432,
    }
    send(one, 1, type="SEND", comm="writer", pid=12, peer_id="0b", peer_pid=7, peer_comm="reader", **writer)
    send(one, 2, comm="reader", pid=7, peer_id="0a", peer_pid=12, peer_comm="writer", **reader)
    send(one, 3, comm="alone", peer_pid=9, peer_comm="quiet")
    page = open_page(one)
    socket = chosen(page, "127.0.0.1:5432 ↔ 127.0.0.1:40000")
    socket.get_by_role("button", name="writer (12)").click()
    expect(socket).to_contain_text("tcp 40000 SEND")
    socket.get_by_role("button", name="reader (7)").click()
    expect(socket).to_contain_text("tcp 5432 RECV")
    chosen(page, "192.0.2.1:8443")
    expect(socket).to_contain_text("Other end: quiet (9)")
    expect(socket.get_by_role("button", name="quiet")).to_have_count(0)


def test_earlier_episodes_of_its_service_are_listed_and_can_be_chosen(
    one: Store, open_page: OpenPage
) -> None:
    for number in range(2, 10):
        send(one, number, age_s=number * HOUR_S, comm="nginx", reason=f"reason {number}", size=number * MIB)
        send(
            one,
            number,
            age_s=number * HOUR_S - 9,
            comm="nginx",
            event="cleared",
            seq=100,
            size=0,
            duration=9,
            peak=number * MIB,
        )
    send(one, 20, age_s=HOUR_S, comm="other")
    send(one, 21, age_s=HOUR_S, comm="nginx", host="web2")
    send(one, 22, age_s=HOUR_S, comm="nginx", type="SEND")
    send(one, 1, comm="nginx")
    page = open_page(one)
    socket = chosen(page, "192.0.2.1:8443 ↔ 198.51.100.7:1025")
    earlier = socket.get_by_role("listitem")
    expect(earlier).to_have_count(5)
    for place, number in enumerate(range(2, 7)):
        expect(earlier.nth(place)).to_contain_text(f"9.0 s, up to {number} MiB: reason {number}")
    earlier.nth(1).get_by_role("button").click()
    expect(socket).to_contain_text("198.51.100.7:1027")
    expect(socket.get_by_role("img", name=re.compile("2 alerts from"))).to_be_visible()
    expect(earlier.first).to_contain_text("reason 4")
    page.go_back()
    expect(socket).to_contain_text("198.51.100.7:1025")
    expect(earlier.first).to_contain_text("reason 2")
