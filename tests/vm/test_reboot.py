# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A host that is reset while queues are over: of the boot before nothing is open in the next one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from tests.live.waiting import DEADLINE_S
from tests.store.now_of_lines import open_by_lines
from tests.store.serving import start_store
from tests.vm.boot import boot, kept_disk
from tests.vm.kernels import named
from tests.vm.rebooted import PORTS, STILL

COMMAND = "PYTHONDONTWRITEBYTECODE=1 python3 -m tests.vm.rebooted {}"
TEST_S = 240


@pytest.mark.timeout(1200)
def test_nothing_of_the_boot_before_is_open(tmp_path: Path) -> None:
    kept = kept_disk(tmp_path / "kept")
    told: list[dict[str, str]] = []
    store = start_store(tmp_path / "store", f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    try:
        for part, code in (("before", None), ("after", 0)):
            outcome = boot(named("6.12"), COMMAND.format(part), TEST_S, kept)
            print(outcome.output)
            assert outcome.code == code, outcome.console[-4000:]
            written = outcome.output.splitlines(keepends=True)  # the reset may cut the last one short
            told += [json.loads(line) for line in written if line.startswith("{") and line.endswith("\n")]
        (earlier, later) = dict.fromkeys(one["run"] for one in told)
        assert [one for one in told if one["event"] == "stopped"] == []
        of_earlier = [one for one in told if one["run"] == earlier and "type" in one]
        left = {one["id"]: one for one in of_earlier}
        left = {id_: one for id_, one in left.items() if one["event"] != "cleared"}
        assert {int(one["local_port"]) for one in left.values()} >= set(PORTS)
        ended = [one for one in told if one["run"] == later and one["event"] == "cleared"]
        assert {one["id"] for one in ended} == set(left)
        assert all("it ended with the boot of the host, between" in one["reason"] for one in ended)
        lines = tmp_path / "alerts.jsonl"
        lines.write_text("".join(f"{json.dumps(one | {'seq': int(one['seq'])})}\n" for one in told))
        (still,) = open_by_lines(lines)
        assert int(still["local_port"]) == STILL
        assert still["id"] not in left
        # the store, also if the ends are lost
        for one in told:
            if one not in ended:
                requests.get(f"{store.url}/alert", params=one, timeout=DEADLINE_S).raise_for_status()
        found = requests.get(f"{store.url}/now", timeout=DEADLINE_S).json()
        assert [one["id"] for one in found["incidents"] if one["kind"] == "queues"] == [still["id"]]
        assert found["episodes"] == {"over": 1, "not_heard": 0, "silent": 0}
    finally:
        store.stop()
