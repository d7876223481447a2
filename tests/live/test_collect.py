# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A hung socket, told to Splunk, BigQuery and Logstash by a monitor that is killed meanwhile: all have all of it.

BigQuery is an emulator; the others are receivers that hold the documented rules.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.bigquery_emulator import client, emulator, make_table
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ours import only_ours
from tests.live.ports import free_port
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until
from tests.unit.bigquery_front import Fault, front
from tests.unit.hec_receiver import TOKEN, collector
from tests.unit.logstash_inputs import http_input, syslog_input

UNREAD, THRESHOLD = 30_011, 20_011
ROOT = Path(__file__).parents[2]


def queries() -> list[str]:
    """Return the queries that docs/bigquery.md has: what is over now, each alert once."""
    (block,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/bigquery.md").read_text(), re.DOTALL)
    return [each for each in block.split(";") if each.strip()]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the emulator needs Python 3.11")
@pytest.mark.timeout(300)
def test_killed_while_it_tells_all_have_what_the_file_has(
    tmp_path: Path, start_monitor: StartMonitor, stack: ExitStack
) -> None:
    emulated, wait_emulated = stack.enter_context(emulator(tmp_path))
    bigquery = stack.enter_context(front(to=emulated))
    hec = stack.enter_context(collector(acknowledges=True, answers_to_acks=lambda _: False))
    http = stack.enter_context(http_input(is_full=lambda: True))
    bigquery.fault = lambda _: Fault(403, "rateLimitExceeded")
    syslog_port = free_port()
    client_end, reader = tcp_pair(stack)
    file = tmp_path / "alerts.jsonl"
    settings: dict[str, Any] = {
        "thresholds": thresholds(THRESHOLD),
        "journal": {"path": str(tmp_path / "journal")},
        "delivery": {"timeout": "10s", "retry_first": "50ms", "retry_max": "200ms"},
        "destinations": [
            {"type": "file", "path": str(file)},
            {"type": "splunk", "url": hec.url, "token": TOKEN},
            {
                "type": "bigquery",
                "project": "my-project",
                "dataset": "sockbpf",
                "table": "alerts",
                "endpoint": bigquery.url,
            },
            {"type": "webhook", "url": http.url, "incidents": False},
            {"type": "syslog", "address": f"tcp://127.0.0.1:{syslog_port}", "format": "rfc3164"},
        ],
        "rules": only_ours(port(reader), type="RECV"),
    }
    monitor = start_monitor(**settings)
    client_end.sendall(bytes(UNREAD))
    for name in ("bigquery", "webhook", "syslog"):
        until(lambda: f"delivery to {name} failed: " in monitor.log(), name)  # noqa: B023  called at once
    until(lambda: len(hec.questions) > 1, "it asks Splunk whether the alert is indexed")
    assert monitor.stop(signal.SIGKILL) == -signal.SIGKILL

    wait_emulated()
    make_table(bigquery.url)
    bigquery.fault, hec.answers_to_acks, http.is_full = (lambda _: None), (lambda _: True), (lambda: False)
    syslog = stack.enter_context(syslog_input(syslog_port))
    monitor = start_monitor(**settings)

    def kept() -> dict[str, list[tuple[str, str, int]]]:
        """Return what each has, by id, event and number."""
        found = {
            "file": [json.loads(line) for line in file.read_bytes().splitlines()],
            "splunk": hec.alerts(),
            "bigquery": list(bigquery.kept.values()),
            "http": [each["sockbpf"] for each in list(http.events)],
            "syslog": syslog.alerts(),
        }
        return {
            name: sorted({(each["id"], each["event"], int(each["seq"])) for each in alerts})
            for name, alerts in found.items()
        }

    def shown() -> str:
        return str(kept())

    until(lambda: all(kept().values()), shown)
    with client(bigquery.url) as asks:
        over, each_once = queries()
        (row,) = asks.query(over).result()
        assert row.event in {"exceeded", "ongoing"}
        assert (row.size, row.local_port) == (UNREAD, port(reader))
        drain(reader, UNREAD)
        until(lambda: all("cleared" in str(each) for each in kept().values()), shown)
        assert not list(asks.query(over).result())
        rows = [(each.id, each.event, each.seq) for each in asks.query(each_once).result()]
    assert sorted(rows) == kept()["file"]
    assert len({tuple(each) for each in kept().values()}) == 1
    assert monitor.stop() == 0
    assert monitor.counters()["given_up"] == 0
    # Splunk did not say whether it had the first one: it is there once more.
    assert len(hec.events()) == len(rows) + 1
