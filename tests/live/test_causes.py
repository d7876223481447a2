# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Why: each cause, made on real sockets, is told with its confidence; none is ever sure and wrong.

The table is printed. `--causes-rounds 23` makes each cause so often.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.waiting import until
from tests.live.why_scenes import ABOVE, ABOVE_LITTLE, NOBODY, SCENES, TINY, Scene

WITHIN_S = 60
WRONG = 0.05
"""The part of the alerts that may be sure and wrong: on a busy machine a process stops later than it was told to."""


def is_told(scene: Scene, receiver: Receiver) -> bool:
    return any(
        scene.says in told["reason"]
        for told in receiver.alerts(cause=scene.cause, confidence=scene.confidence, **scene.queue)
    )


def sure_and_wrong(scene: Scene, receiver: Receiver) -> list[str]:
    told = receiver.alerts(confidence="high", **scene.queue)
    return [f"{alert['cause']}: {alert['reason']}" for alert in told if alert["cause"] != scene.cause]


def assert_incident(scene: Scene, receiver: Receiver) -> None:
    """Check that both ends name each other; on a busy machine there is no time to explain some alerts."""

    def named() -> list[dict[str, str]]:
        sent = receiver.alerts(cause=scene.cause, **scene.queue)
        return [told for told in sent if {"pid", "peer_id", "peer_pid", "peer_comm"} <= told.keys()]

    sent = until(named, "the other end named")[-1]
    other = {"id": sent["peer_id"], "pid": sent["peer_pid"], "cause": "reader-stopped"}
    other |= {"peer_id": sent["id"], "peer_pid": sent["pid"], "local_port": sent["remote_port"]}
    until(lambda: receiver.alerts(**other), "this end named by the other one")


def test_each_cause_is_told(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
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
    made = [
        (f"{scene.__name__} {family}", scene(stack, family))
        for family in ("ipv4", "ipv6")
        for scene in SCENES
    ]

    def untold() -> list[str]:
        return [name for name, scene in made if not is_told(scene, receiver)]

    try:
        until(lambda: not untold(), lambda: str(untold()), WITHIN_S)
    finally:
        for name, scene in made:
            said = receiver.alerts(**scene.queue)
            right = sum(told.get("cause") == scene.cause for told in said)
            print(f"{name:26} {right} of {len(said)} alerts say {scene.cause}")
            if not right:
                print(said[-1:])
    for name, scene in made:
        if name.startswith("peer_stopped"):
            assert_incident(scene, receiver)
    wrong = [each for _, scene in made for each in sure_and_wrong(scene, receiver)]
    print("sure and wrong:", wrong)
    assert len(wrong) <= WRONG * sum(len(receiver.alerts(**scene.queue)) for _, scene in made)
