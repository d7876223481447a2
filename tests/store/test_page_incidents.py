# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real incidents side by side: each is answered by its card on the first screen of the page, without scrolling."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.live.monitoring import Monitor, launch
from tests.live.programs.place import Place, place
from tests.live.programs.told_of import table
from tests.live.waiting import until
from tests.store.browsing import OpenPage
from tests.store.incident_scenes import ALL, BULK_THRESHOLD, WATCHED, Scene
from tests.store.serving import Store, find

LOST = "db9"
WIDTH, HEIGHT = 1300, 900
"""Of the screen, pixels."""
PHONE = (360, 740)
TREND = r"grows[^·\n]*|drains[^·\n]*|stands still|at its highest|down from [^·\n]*"


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


def named(host: str) -> tuple[str, ...]:
    """Return the command that starts another with such a host name."""
    return ("unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh")


def watch(folder: Path, store: Store, host: str, stack: ExitStack, **settings: Any) -> Monitor:
    monitor = launch(
        folder / host,
        f"{store.url}/alert",
        {
            "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
            "heartbeat": "1s",
            "repeat": "2s",
            "flapping": {},
            "fold": {},
            "clear_ratio": 0.8,
            "sweep": {"recheck": "1s"},
            **settings,
        },
        named(host),
    )
    stack.callback(lambda: print(f"--- log on {host} ---\n{monitor.log()[-5000:]}"))
    stack.callback(monitor.stop)
    monitor.wait_armed()
    return monitor


def silent_host(folder: Path, store: Store, stack: ExitStack) -> Scene:
    """Have a host fall silent: its monitor is killed."""
    monitor = watch(
        folder, store, LOST, stack, rules=[{"match": {"protocol": ["tcp", "udp"]}, "ignore": True}]
    )
    until(lambda: find(store, "/hosts", host=LOST)["hosts"], "it is heard of")  # type: ignore[call-overload]
    monitor.stop(signal.SIGKILL)
    return Scene(
        "a host that fell silent", LOST, f"nothing was heard of {LOST} since", 0, ("host is silent",), LOST
    )


@pytest.fixture
def scenes(one: Store, here: Place, stack: ExitStack, tmp_path: Path) -> list[Scene]:
    """Have all of them begin while a monitor watches, with rules as an operator writes them, and tells the store."""
    ours = {"netns": here.netns}
    watch(
        tmp_path, one, WATCHED, stack,
        stalled={"after": "2s"},
        listeners={},
        rules=[
            {"name": "bulk", "match": ours | {"process": "bulk"}, "thresholds": {"recv": BULK_THRESHOLD}},
            {"name": "web", "match": ours | {"process": ["nginx", "curl"]}, "severity": "warning"},
            {"name": "database", "match": ours | {"process": ["postgres", "psql"]}, "severity": "warning"},
            {"name": "cache", "match": ours | {"process": "redis*"}, "severity": "warning"},
            {"name": "other", "match": ours, "repeat": "2s"},
            {"name": "not-ours", "match": {"protocol": ["tcp", "udp"]}, "ignore": True},
        ],
    )  # fmt: skip
    begun = [scene(here) for scene in ALL]
    return [*begun, silent_host(tmp_path, one, stack)]


def cards(page: Page) -> Locator:
    return page.get_by_role("region", name="Now").get_by_role("article")


def of(page: Page, scene: Scene) -> Locator:
    """Return the one card of an incident, by its heading."""
    name = scene.whose if scene.host == LOST else f"{scene.whose} on {scene.host}"
    return cards(page).filter(has=page.get_by_role("heading", name=name, exact=True))


def draw(open_page: OpenPage, store: Store, folder: Path) -> None:
    """Make the pictures of the documents."""
    for name, (width, height), scheme in (
        ("desktop", (WIDTH, HEIGHT), "light"), ("dark", (WIDTH, HEIGHT), "dark"), ("phone", PHONE, "light"),
    ):  # fmt: skip
        page = open_page(store, width=width, height=height, scheme=scheme)
        expect(cards(page).first).to_be_visible()
        page.screenshot(path=folder / f"page-{name}.png")


def answers(card: Locator) -> dict[str, str]:
    """Return what a card answers, and where it lies on the screen, in pixels from its top."""
    box = card.bounding_box()
    assert box
    told = card.inner_text()
    full, shown, trend = (re.search(what, told) for what in (r"\d+ % full", r"Show (\d+) socket", TREND))
    return {
        "whose": card.get_by_role("heading").inner_text(),
        "why": card.get_by_role("paragraph").nth(2).inner_text(),
        "since": card.get_by_role("time").inner_text(),
        "full": full[0] if full else "",
        "sockets": shown[1] if shown else "",
        "grows": trend[0].strip() if trend else "",
        "lies": f"{box['y']:.0f} to {box['y'] + box['height']:.0f}",
    }


def since(card: Locator) -> float:
    return datetime.fromisoformat(card.get_by_role("time").get_attribute("datetime") or "").timestamp()


@pytest.mark.timeout(180)
def test_each_incident_is_answered_on_the_first_screen(
    one: Store, open_page: OpenPage, scenes: list[Scene], pictures: Path | None
) -> None:
    page = open_page(one, width=WIDTH, height=HEIGHT)
    shown = {scene: of(page, scene) for scene in scenes}
    for scene, card in shown.items():
        expect(card).to_contain_text(re.compile(scene.why), timeout=30_000)
        for text in (*scene.also, scene.count):
            expect(card).to_contain_text(text, timeout=30_000)
    expect(cards(page)).to_have_count(len(scenes))
    if pictures:
        draw(open_page, one, pictures)
    found = {scene.name: answers(card) for scene, card in shown.items()}
    print(
        table(
            ["incident", *found["a host that fell silent"]],
            [[name, *told.values()] for name, told in found.items()],
        )
    )
    assert page.evaluate("scrollY") == 0
    for scene, card in shown.items():
        box = card.bounding_box()
        assert box, scene
        assert box["y"] + box["height"] <= HEIGHT, scene
        assert scene.began_s - 15 < since(card) < scene.began_s + 10, scene
        told = found[scene.name]
        if scene.host == WATCHED:
            assert told["full"], scene
            assert told["grows"], scene
    severe = ["critical" in said for said in cards(page).all_inner_texts()]
    assert severe == sorted(severe, reverse=True)
    assert any(severe)
