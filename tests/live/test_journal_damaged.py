# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A damaged journal keeps no monitor from starting: what is whole in it arrives as it was, and nothing else does.

The damages of tests/unit/test_journal_damages.py, in a monitor: one for 250 of `--journal-damages`, at least 4.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.waiting import until
from tests.unit.damages import DAMAGES, whole_text
from tests.unit.journals import body

SEED = 9973
OWED = 211


@pytest.mark.timeout(1200)
def test_what_is_whole_arrives(
    start_monitor: StartMonitor, receiver: Receiver, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    chance = random.Random(SEED)
    rounds = max(4, int(pytestconfig.getoption("--journal-damages")) // 250)
    template = tmp_path / "template"
    owed = {n: Owed(n, "http", f"{n:x}", 4e9, body(n, host="h", comm=f"name{n}")) for n in range(1, OWED + 1)}
    journal = Journal(template)
    journal.write(owed.values(), [], OWED, OWED)
    journal.close()
    alerts = {n: one.fields for n, one in owed.items()}
    whole_in_all = 0
    for number in range(rounds):
        path = tmp_path / f"journal{number}"
        shutil.copyfile(template, path)
        data = bytearray(path.read_bytes())
        DAMAGES[list(DAMAGES)[number % len(DAMAGES)]](data, chance)
        path.write_bytes(data)
        whole = {n for n, one in owed.items() if whole_text(one, data)}
        whole_in_all += len(whole)
        receiver.told.clear()
        monitor = start_monitor(
            thresholds=thresholds(2**31 - 1), journal={"path": str(path)}, kernel={"hooks": "none"}
        )

        def arrived() -> dict[int, dict[str, str]]:
            return {int(each["seq"]): each for each in list(receiver.alerts())}

        until(lambda whole=whole: whole <= arrived().keys(), "all that is whole")  # type: ignore[misc]
        assert monitor.stop() == 0
        assert all(alerts[n] == each for n, each in arrived().items())
        counters = monitor.counters()
        assert counters["journal_failed"] == 0
        assert counters["recovered_owed"] == counters["delivered"] == len(whole)
        assert bool(counters["set_aside"]) == ("is damaged: set aside" in monitor.log())
    print(
        f"{rounds} monitors: {OWED * rounds} alerts owed, {whole_in_all} whole on disk, all of them arrived"
    )
