# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Why: each cause, made on real sockets, is told with its confidence; none is ever sure and wrong.

The table is printed. `--causes-rounds 23` makes each cause so often.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.live import path_scenes, why_scenes
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.scene import ABOVE, ABOVE_LITTLE, NOBODY, TINY, MakeScene, Scene
from tests.live.waiting import until

WITHIN_S = 30
RIGHT = 0.95
"""Of what was made, so much is told rightly."""
SCENES = (*why_scenes.SCENES, *path_scenes.SCENES)
Makers = list[tuple[str, MakeScene]]
"""Families and what makes a scene of one."""


@pytest.fixture
def makers(request: pytest.FixtureRequest) -> Makers:
    """Return what is made in each round."""
    names = str(request.config.getoption("--causes")).split()
    wanted = [scene for scene in (*SCENES, *path_scenes.ONLY_WITH_NETEM) if scene.__name__ in names] or list(
        SCENES
    )
    assert len(wanted) == (len(names) or len(SCENES)), f"scenes are: {[scene.__name__ for scene in SCENES]}"
    return [(family, scene) for family in ("ipv4", "ipv6")[: 1 if names else 2] for scene in wanted]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often each cause is made."""
    return int(request.config.getoption("--causes-rounds"))


Said = list[dict[str, str]]


def is_told(scene: Scene, said: Said) -> bool:
    """Tell whether the latest cause that was told of it is the right one, as sure as it has to be."""
    known = [told for told in said if told.get("cause", "unknown") != "unknown"]
    if not known or scene.says not in known[-1]["reason"]:
        return False
    return (known[-1]["cause"], known[-1]["confidence"]) == (scene.cause, scene.confidence)


def sure_and_wrong(scene: Scene, said: Said) -> list[str]:
    sure = [told for told in said if told.get("confidence") == "high"]
    return [f"{scene.cause}: {told}" for told in sure if told["cause"] != scene.cause]


def assert_incident(scene: Scene, receiver: Receiver) -> None:
    """Check that both ends name each other; on a busy machine there is no time to explain some alerts."""

    def named() -> list[dict[str, str]]:
        sent = receiver.alerts(cause=scene.cause, **scene.queue)
        return [told for told in sent if {"pid", "peer_id", "peer_pid", "peer_comm"} <= told.keys()]

    sent = until(named, "the other end named")[-1]
    other = {"id": sent["peer_id"], "pid": sent["peer_pid"], "cause": "reader-stopped"}
    other |= {"peer_id": sent["id"], "peer_pid": sent["pid"], "local_port": sent["remote_port"]}
    until(lambda: receiver.alerts(**other), "this end named by the other one")


def test_each_cause_is_told(
    start_monitor: StartMonitor, receiver: Receiver, rounds: int, makers: Makers
) -> None:
    start_monitor(
        thresholds=thresholds(ABOVE),
        repeat="1s",
        listeners={"backlog": "80%", "hold": "1s"},
        stalled={"after": "2s", "above": "1GiB"},  # of listeners alone
        rules=[
            {
                "match": {"remote_port": [NOBODY, TINY], "protocol": "tcp"},
                "thresholds": {"send": ABOVE_LITTLE},
            }
        ],
    )
    right: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(rounds):
        begun = time.monotonic()
        with ExitStack() as stack:
            one_round(stack, receiver, makers, right, wrong)
        print(f"round {number + 1}: {time.monotonic() - begun:.0f} s", flush=True)
        receiver.told.clear()
    for name, number in Counter(scene.__name__ for _, scene in makers).items():
        print(f"{name:24} {right[name]:3} of {rounds * number} told rightly")
    print("sure and wrong:", len(wrong), *wrong, sep="\n")
    assert not wrong
    assert right.total() >= RIGHT * rounds * len(makers)


def test_the_first_alert_of_what_was_held_says_why(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """By the looks that were taken meanwhile, and by what the reader waits for."""
    start_monitor(thresholds=thresholds(ABOVE), hold="5s", repeat="60s", stalled={"after": "15s"})
    made = [make(stack, "ipv4") for make in why_scenes.HELD]
    for scene in made:
        told = receiver.first(event="exceeded", condition="size", **scene.queue)
        assert is_told(scene, [told]), (scene, told)


def one_round(
    stack: ExitStack, receiver: Receiver, makers: Makers, right: Counter[str], wrong: list[str]
) -> None:
    """Make each cause once for each family, all at the same time, and note what is told of it."""
    begun_s = time.time()

    def heard(scene: Scene) -> Said:
        """Leave out the late end of an episode of the round before: a port is used again."""
        said = receiver.alerts(**scene.queue)
        return [told for told in said if float(told["timestamp"]) - float(told["duration"]) > begun_s - 0.1]

    made = [(make.__name__, make(stack, family)) for family, make in makers]

    def untold() -> list[tuple[str, Scene]]:
        return [(name, scene) for name, scene in made if not is_told(scene, heard(scene))]

    end = time.monotonic() + WITHIN_S
    while untold() and time.monotonic() < end:
        time.sleep(0.05)
    for name, scene in (late := untold()):
        print(f"not told: {name} {scene.queue}", *heard(scene)[-1:])
    right.update(name for name, scene in made if (name, scene) not in late)
    for name, scene in made:
        if name == "peer_stopped":
            assert_incident(scene, receiver)
    wrong += [each for _, scene in made for each in sure_and_wrong(scene, heard(scene))]
