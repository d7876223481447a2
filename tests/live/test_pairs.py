# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A stopped reader on this host: its receiver gets both ends, Slack and Alertmanager hear of one incident."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.posting import posting
from tests.live.receiver import Receiver
from tests.live.scene import ABOVE
from tests.live.waiting import until
from tests.live.why_scenes import peer_stopped


@dataclass
class Posts:
    """What was posted, by path."""

    url: str = ""
    got: list[tuple[str, Any]] = field(default_factory=list)

    def messages(self, port: object) -> list[str]:
        """Return what Slack was told of a port."""
        return [
            body["text"] for path, body in list(self.got) if path == "/slack" and f":{port} " in body["text"]
        ]

    def states(self, *ports: object) -> list[dict[str, Any]]:
        """Return what Alertmanager was told of a connection between two ports."""
        posted = [body[0] for path, body in list(self.got) if path.startswith("/am")]
        named = {str(port) for port in ports}
        return [
            each
            for each in posted
            if {each["annotations"].get(end) for end in ("local_port", "remote_port")} == named
        ]


@pytest.fixture
def posts(stack: ExitStack) -> Posts:
    made = Posts()

    def take(path: str, body: bytes) -> None:
        made.got.append((path, json.loads(body)))

    made.url = stack.enter_context(posting(take))
    return made


def test_the_pair_is_told_once(
    start_monitor: StartMonitor, receiver: Receiver, posts: Posts, stack: ExitStack
) -> None:
    monitor = start_monitor(
        thresholds=thresholds(ABOVE),
        repeat="1s",
        destinations=[
            {"type": "slack", "url": f"{posts.url}/slack"},
            {"type": "alertmanager", "url": f"{posts.url}/am"},
        ],
    )
    with ExitStack() as scene:
        sender = peer_stopped(scene, "ipv4").queue
        port, other = sender["local_port"], receiver.first(**sender)["remote_port"]
        reader = {"local_port": other, "remote_port": port, "type": "RECV"}
        both = (sender, reader)
        until(
            lambda: all(len(receiver.alerts(event="ongoing", **end)) > 1 for end in both),
            "both ends told, twice",
        )
        until(lambda: "which is stopped" not in posts.messages(port)[-1], "the end that leads")
    until(lambda: all(receiver.alerts(event="cleared", **end) for end in both), "both ends over")
    until(lambda: any("*cleared*" in text for text in posts.messages(port)), "the end of the incident")
    until(lambda: any("endsAt" in each for each in posts.states(port, other)), "the end of the alert")
    monitor.stop()

    messages = posts.messages(port)
    print("\n---\n".join(messages))
    told = [text for text in messages if "*exceeded*" in text]
    # If the sender's alert was made before the reader's queue was over, Slack hears of it first.
    assert 1 <= len(told) <= 2
    first = told[-1].split("\n")[0]
    assert "is stopped" in first
    assert " on this host, which is stopped" not in first
    after = messages[messages.index(told[-1]) + 1 : -1]
    assert after
    assert all("*ongoing*" in text and "RECV queue" in text for text in after)
    assert "*cleared*" in messages[-1]
    assert "% full" not in messages[-1]
    assert sum("*cleared*" in text for text in messages) == 1
    states = posts.states(port, other)
    sides = [each["labels"]["direction"] for each in states]
    assert sides.count("RECV") > 1
    assert sides[0] == "RECV" or len(told) == 2
    assert {each["labels"]["service"] for each in states} == {f"tcp {min(int(str(port)), int(str(other)))}"}
    assert monitor.counters()["paired"] > 1
