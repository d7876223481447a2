# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Killed at any instant under load, no alert that the log had told is lost: the next monitors send what is owed.

The log is written after the journal, so what stands in it was read, judged and kept. Rounds of SIGKILL at random
moments of the monitor's work, against a receiver that takes everything, nothing, or fails by turns; then one that
is left to finish. `--kills` says how many.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.live.monitoring import launch, thresholds
from tests.live.receiver import Receiver, Told
from tests.live.told import Word, word
from tests.live.waiting import until

SEED = 1873
LONGEST_S = 0.4
LOAD = "from tests.live.load import load_without_end; load_without_end()"
TOLD = re.compile(r"event=(\w+) .* id=(\w+) seq=(\d+) ")


def logged(log: str) -> list[Word]:
    return [(event, id_, int(seq)) for event, id_, seq in TOLD.findall(log)]


@pytest.mark.timeout(1800)
def test_what_was_told_arrives(
    receiver: Receiver, stack: ExitStack, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    chance = random.Random(SEED)
    kills = int(pytestconfig.getoption("--kills"))
    moods = ["takes all", "takes none", "by turns"]
    mood = moods[0]
    taken: list[Told] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        takes = mood == "takes all" or (mood == "by turns" and chance.random() < 0.7)
        if takes:
            taken.append(dict(parse_qsl(urlsplit(handler.path).query)))
        handler.send_response(204 if takes else 503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    receiver.answer = answer
    settings = {
        "thresholds": thresholds(20_011),
        "journal": {"path": str(tmp_path / "journal")},
        "delivery": {"retry_first": "10ms", "retry_max": "100ms"},
        "repeat": "1s",
    }
    load = stack.enter_context(subprocess.Popen([sys.executable, "-c", LOAD], stdout=subprocess.PIPE))
    stack.callback(load.kill)
    assert load.stdout
    load.stdout.readline()

    told: list[Word] = []
    for number in range(kills):
        mood = moods[number % len(moods)]
        monitor = launch(tmp_path / f"monitor{number}", receiver.url, settings)
        stack.callback(monitor.process.kill)
        monitor.wait_armed()
        moment_s = time.monotonic() + chance.uniform(0, LONGEST_S)
        until(lambda moment_s=moment_s: time.monotonic() > moment_s, "the moment")  # type: ignore[misc]
        assert monitor.stop(signal.SIGKILL) == -signal.SIGKILL
        told += logged(monitor.log())
    load.kill()
    mood = "takes all"
    monitor = launch(tmp_path / "last", receiver.url, settings)
    stack.callback(monitor.process.kill)
    monitor.wait_armed()

    def lost() -> set[Word]:
        return set(told) - {word(each) for each in list(taken)}

    def gaps() -> set[int]:
        """Return what is missing of what was written but not logged when its monitor was killed."""
        seqs = {int(each["seq"]) for each in list(taken)}
        return set(range(1, max(seqs, default=1) + 1)) - seqs

    until(lambda: not lost(), lambda: f"{len(lost())} of {len(told)} lost, such as {sorted(lost())[:3]}", 600)
    until(lambda: not gaps(), lambda: f"a gap: {sorted(gaps())[:9]}", 60)
    assert monitor.stop() == 0
    told += logged(monitor.log())
    received: dict[int, list[Told]] = defaultdict(list)
    for each in taken:
        received[int(each["seq"])].append(each)
    twice = sum(len(each) - 1 for each in received.values())
    print(f"{kills} kills: {len(told)} told, {len(received)} received, {twice} of them again")
    assert len(told) > 10 * kills
    assert len(told) == len(set(told)) == len({seq for *_, seq in told}), "no seq stands for two alerts"
    for seq, copies in received.items():
        assert all(one == copies[0] for one in copies), f"seq {seq} came with two meanings"
    assert not gaps()
