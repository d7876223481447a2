# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the settings mean for the looks: how often they are taken, and which queues they are to show."""

from __future__ import annotations

from typing import Any

import pytest

from sockbpf.judge.rulebook import Rulebook
from sockbpf.kernel.look.row import Terms, Which
from sockbpf.kernel.look.sweep import Wanted
from sockbpf.monitor.terms import decision_of, timing_of, wanted_by
from sockbpf.record.rule import Who
from sockbpf.settings.config import Config


def config(**settings: Any) -> Config:
    return Config.model_validate({"url": "http://127.0.0.1:8080/alert"} | settings)


@pytest.mark.parametrize(
    ("settings", "is_blind", "sweep_s"),
    [
        ({}, False, 5.0),
        ({}, True, 1.0),
        ({"stalled": {"after": "0s"}}, False, 30.0),
        ({"stalled": {"after": "0s"}}, True, 1.0),
        ({"stalled": {"after": "1s"}}, False, 1.0),
        ({"stalled": {"after": "1s"}, "sweep": {"poll": "100ms"}}, True, 0.1),
        ({"stalled": {"after": "10m"}}, False, 30.0),
        ({"rules": [{"match": {"user": 0}, "stalled": {"after": "6s"}}]}, False, 2.0),
        ({"rules": [{"match": {"user": 0}, "stalled": {"after": "0s"}}]}, False, 5.0),
    ],
)
def test_sockets_are_looked_at_three_times_before_a_queue_is_stalled(
    settings: dict[str, Any], *, is_blind: bool, sweep_s: float
) -> None:
    assert timing_of(config(**settings), is_blind=is_blind).sweep_s == sweep_s


@pytest.mark.parametrize(
    ("settings", "send", "recv", "progress"),
    [
        ({}, 1024, 1024, True),
        ({"thresholds": {"send": 512}}, 512, 1024, True),
        ({"stalled": {"above": "2MiB"}}, 1 << 20, 1 << 20, True),
        ({"stalled": {"above": 0}}, 0, 0, True),
        ({"stalled": {"after": 0}}, 1 << 20, 1 << 20, False),
        ({"rules": [{"match": {"user": 0}, "stalled": {"above": 512}}]}, 512, 512, True),
        (
            {"stalled": {"after": 0}, "rules": [{"match": {"user": 0}, "stalled": {"after": "9s"}}]},
            1024,
            1024,
            True,
        ),
    ],
)
def test_a_look_shows_what_is_over_and_what_may_be_stalled(
    settings: dict[str, Any], send: int, recv: int, *, progress: bool
) -> None:
    terms = Terms(Which.OVER_ONLY, send, recv, progress=progress)
    whole = config(**settings)
    over = Rulebook((), decision_of(whole), lambda _: (Who(), True), {}).least_over()
    assert wanted_by(whole, [], over, everywhere=True) == Wanted(None, terms)
