# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Advice by HTTP: what the command on the host says of the same settings, of one service, within bounds."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests

from sockbpf.cli import main
from sockbpf.record.history import Series
from tests.store.advised_services import MIB, NIGHTS, fill, nights
from tests.store.asking import is_problem
from tests.store.history_lines import line, send
from tests.store.serving import Store, find, told
from tests.store.talking import as_user

NOBODY = 65_534
BACKUP = Series("web1", "873", "tcp", "SEND")._asdict()
WEB = BACKUP | {"service": "nginx.service"}
RARE = BACKUP | {"service": "5432"}
OF_THE_STORE = {"from", "to", "present", "assumed", "rule", *Series._fields}


def advice(store: Store, **asked: object) -> dict[str, Any]:
    return find(store, "/advice", **asked)  # type: ignore[return-value]


def test_it_is_what_the_command_says_of_the_same_settings(
    emptied: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(emptied)
    rare_s = [
        nights()[0] + 60 * number for number in range(3)
    ]  # it is seldom not empty, and is looked at each 10 s
    assert send(emptied, line(rare_s, [70_000] * 3, **RARE)).json()["samples"] == 3
    assert main(["advise", "-c", str(emptied.config), "--host", "web1", "--json"]) == 0
    said = {each["service"]: each for each in json.loads(capsys.readouterr().out)["services"]}
    ahead_s = time.localtime().tm_gmtoff
    for names in (BACKUP, WEB, RARE, WEB | {"service": "user-1000.slice", "type": "RECV"}):
        found = advice(emptied, utc_offset=ahead_s, **names)
        assert names.items() <= found.items()
        mine = {name: value for name, value in found.items() if name not in OF_THE_STORE}
        assert mine == {name: value for name, value in said[names["service"]].items() if name in mine}
    backup = advice(emptied, utc_offset=ahead_s, **BACKUP)
    assert (backup["told"], backup["process"], backup["present"]) == (
        NIGHTS, "rsync", {"threshold": MIB, "hold": 10},
    )  # fmt: skip
    assert '"process": "rsync"' in backup["rule"]
    assert '"thresholds": {"send": "8MiB"}' in backup["rule"]
    assert "02:00 and 03:00" in backup["reason"]
    assert "04:00 and 05:00" in advice(emptied, utc_offset=ahead_s + 7200, **BACKUP)["reason"]
    other = advice(emptied, threshold=4 * MIB, hold=0, **BACKUP)
    assert other["assumed"] == "4MiB, as asked; without a hold, as asked"
    at_once = {rung["threshold"]: rung for rung in other["tried"] if not rung["hold"]}
    assert (at_once[4 * MIB]["least"], at_once[4 * MIB]["exact"]) == (NIGHTS, True)
    nothing = advice(emptied, to=time.time() - 30 * 86_400, **BACKUP)
    assert (nothing["told"], nothing["busy_s"], nothing["proposal"]) == (0, 0, None)


def test_whoever_may_read_may_ask_and_names_are_only_compared(one: Store) -> None:
    assert send(one, line([int(time.time()) // 10 * 10 - 60], [9], service="' or 1=1 --")).ok
    with as_user(NOBODY):
        assert advice(one, **BACKUP)["tried"]
    for service in ("' or 1=1 --", "\0", "\u202e<b>", "x" * 3000, "9" * 300, "%", "٣"):
        found = advice(one, **BACKUP | {"service": service})
        assert (found["size"]["top"] == 9) == (service == "' or 1=1 --")
    for asked in ("", "host=a&service=b&protocol=tcp", "host=a&host=b"):
        assert is_problem(requests.get(f"{one.url}/advice?{asked}", timeout=30), 422), asked
    assert is_problem(requests.get(f"{one.url}/advice?host=%ff", timeout=30), 400)
    assert requests.post(f"{one.url}/advice", timeout=30).status_code == 405


def test_all_that_was_told_is_read_page_by_page(one: Store) -> None:
    count, begin_s = 1200, int(time.time()) - 90_000
    alerts = [
        told(number, event=event, seq=seq, timestamp=f"{begin_s + 60 * number + seq}.5", duration=seq, type="SEND",
             local_port=873, size=5 * MIB, peak=5 * MIB + number, threshold=MIB, condition="size")
        for number in range(count)
        for seq, event in enumerate(("exceeded", "cleared"))
    ]  # fmt: skip
    for first in range(0, len(alerts), 1000):
        body = "\n".join(map(json.dumps, alerts[first : first + 1000]))
        assert requests.post(f"{one.url}/alerts", data=body, timeout=60).json()["refused"] == []
    found = advice(one, **BACKUP)
    assert found["told"] == count
    assert found["present"] == {"threshold": MIB, "hold": 0}
    exact = {rung["threshold"]: rung["most"] for rung in found["tried"] if rung["exact"]}
    assert (exact[4 * MIB], exact[8 * MIB]) == (count, 0)
