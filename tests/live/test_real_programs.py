# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real programs with nothing set but `url`: what hangs is told soon, with its owner; what is well is quiet.

All hangs at once, which takes half a minute; then one healthy program after the other: by `--healthy-seconds 60`
for a minute each. Both tables are printed. `--programs-settings '{hold: 1s}'` tries other defaults.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.live.monitoring import Monitor, start
from tests.live.programs import loads, more_hangs
from tests.live.programs.place import Place, place
from tests.live.programs.told_of import HUNG, WELL, Verdict, noise, table, verdict
from tests.live.receiver import Receiver

WITHIN_S = 20
UNOWNED = 3
"""So many owners may stay unknown on a busy machine; a wrong one is never right."""
PATIENCE_S = 30
"""So long an alert is waited for; on a busy machine it is late for reasons of its own."""


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
def monitor(tmp_path: Path, receiver: Receiver, stack: ExitStack, request: pytest.FixtureRequest) -> Monitor:
    """Start one with nothing set but where alerts go, a journal of its own, and what is tried."""
    config = tmp_path / "config.yaml"
    settings = {"url": receiver.url, "journal": {"path": str(tmp_path / "journal")}}
    tried = yaml.safe_load(request.config.getoption("--programs-settings"))
    config.write_text(yaml.safe_dump(settings | tried))
    made = start(config, stack)
    made.wait_armed()
    return made


def test_what_hangs_is_told(here: Place, monitor: Monitor, receiver: Receiver, strict_times: bool) -> None:
    hangs = [hang for group in more_hangs.ALL for hang in group(here)]
    within_s = WITHIN_S if strict_times else PATIENCE_S

    def verdicts() -> list[Verdict]:
        return [verdict(hang, receiver, here.number) for hang in hangs]

    while (
        not all(each.told and "pid" in each.told for each in verdicts())
        and time.time() < hangs[-1].began_s + within_s
    ):
        time.sleep(0.1)
    found = verdicts()
    monitor.stop()
    print(table(HUNG, [each.row() for each in found]))
    late = [each.hang.name for each in found if each.told is None or each.after_s > within_s]
    assert not late
    unowned = [each.hang.name for each in found if each.told and "pid" not in each.told]
    assert not (unowned if strict_times else unowned[UNOWNED:])


@pytest.mark.timeout(3600)
def test_what_is_well_is_quiet(here: Place, monitor: Monitor, receiver: Receiver, healthy_s: float) -> None:
    done = [loads.run(name, here, healthy_s) for name in loads.ALL]
    monitor.stop()
    told = [told for _, told in list(receiver.told) if told.get("netns") == str(here.number)]
    print(table(WELL, [noise(load, told).row() for load in done]))
    minutes = sum(load.seconds for load in done) / 60
    print(f"{len(told)} alerts in {minutes:.1f} minutes; counted alone: {monitor.counters()['held_back']}")
    of_queues = [each for each in told if each["type"] != "RATE"]
    print(f"{len(told) - len(of_queues)} of them about datagrams that the kernel dropped, which were lost")
    assert len(of_queues) <= max(1, minutes)
