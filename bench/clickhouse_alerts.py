# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Makes alerts in ClickHouse by SQL, so many that nobody would wait until they are sent.

They go through the table that a store writes into. Three are one episode, of one of 5000 hosts and 50 services.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import Connection, text

from sockbpf.store.data.clickhouse_ended import COLUMNS
from sockbpf.store.data.clickhouse_schema import make_tables
from sockbpf.store.data.clickhouse_sums import MARGIN_S, make_sums
from sockbpf.store.data.clickhouse_tables import INCOMING, WORDS, columns_of_incoming, type_of
from tests.store.altering import change

log = logging.getLogger(__name__)

HOSTS, SERVICES = 5000, 50
OPEN = 10_000
LONGEST_S = 21.0
"""Of an episode that ends."""
CHUNK = 999_999
"""Alerts that are inserted together, three of each episode."""
DAY_S = 86_400


class Alerts:
    """Alerts by number: three in a row are one episode, which ends, unless it is one of OPEN."""

    def __init__(self, count: int, days: float, now_s: float) -> None:
        self.count = count
        self.begin_s = now_s - days * DAY_S
        self.each_s = (days * DAY_S - LONGEST_S) / (count // 3)
        """Seconds from one episode to the next."""

    def ended(self, first: int, last: int) -> str:
        """Return what inserts the rows of the episodes of these alerts: as upkeep makes them of their alerts."""
        stamp = "toString(number - 1), ', ', toString(told_at - lasts / 2), ', false'"
        before = f"concat('[[', {stamp}, '], ', toString(size), ']')"
        told = self._told() | {"last": "told_at", "alerts": "3", "before": before, "settled": "1"}
        types = {column.name: type_of(column) for column in COLUMNS} | {"settled": "Int64", "day": "Date"}
        told["day"] = "toDate(toDateTime(arrived, 'UTC'))"
        return _insert("episode_rows", types, told, self._numbers(first, last, "part = 2 and not is_open"))

    def insert(self, first: int, last: int, which: str) -> str:
        """Return what inserts those of the alerts with these numbers of which this is true."""
        return _insert(INCOMING, dict(columns_of_incoming()), self._told(), self._numbers(first, last, which))

    def _numbers(self, first: int, last: int, which: str) -> str:
        return (
            "select number, intDiv(number, 3) as e, number % 3 as part, sipHash64(e) as h, "
            f"toInt64(h % {HOSTS}) as host_n, toInt64(intDiv(h, 7) % {SERVICES}) as service, "
            "0.05 + (h % 2000) / 100. as lasts, "
            f"e % {max(self.count // 3 // OPEN, 100)} = 0 as is_open, "
            f"round({self.begin_s} + e * {self.each_s} + part * lasts / 2, 6) as told_at "
            f"from numbers({first}, {last - first}) where {which}"
        )

    def _told(self) -> dict[str, str]:
        """Return SQL for each column of `incoming` that is told."""
        local = "concat('10.', toString(intDiv(host_n, 256)), '.', toString(host_n % 256), '.5')"
        remote = "concat('10.20.', toString(h % 200), '.7')"
        said = "concat('the process reads nothing: it has been stopped for ', toString(h % 1000), ' seconds')"
        whole = {
            "timestamp": "told_at", "event": "event", "protocol": "protocol", "local_ip": local,
            "local_port": "local_port", "remote_ip": remote, "remote_port": "remote_port", "type": "type",
            "size": "size", "threshold": "1048576", "peak": "size", "duration": "part * lasts / 2", "id": "id",
            "seq": "number", "host": "host", "netns": "4026531833", "mode": "'ebpf'", "pid": "pid",
            "comm": "comm", "unit": "unit", "user": "'www-data'", "run": "run", "condition": "'size'",
            "severity": "'warning'", "limit": "6291456", "fill": "h % 100", "cause": "ifNull(cause, '')",
            "reason": "ifNull(reason, '')", "evidence": "'state=T;wchan=do_signal_stop;snd_wnd=0'",
        }  # fmt: skip
        body = ", ', \"".join(f"{name}\": \"', toString({value}), '\"'" for name, value in whole.items())
        later = {"cause": "'reader-stopped', 'peer-not-reading', 'peer-slow', 'buffer-full'"}
        told = {
            "at": "told_at", "n": "toInt64(told_at * 1e6) * 256", "arrived": "told_at + 0.3", "trusted": "1",
            "pairs": "map()",
            "identity": "reinterpretAsFixedString(sipHash128(number))",
            "is_alert": "true", "is_report": "true", "is_word": "true",
            "event": "['exceeded', 'ongoing', 'cleared'][part + 1]", "protocol": "if(h % 10 < 8, 'tcp', 'udp')",
            "type": "if(h % 3 = 0, 'SEND', 'RECV')", "host": "concat('web', toString(host_n), '.example.net')",
            "local_ip": local, "local_packed": _packed("a", "host_n"), "local_port": "8000 + service",
            "remote_ip": remote, "remote_packed": _packed("b", "h % 200"), "remote_port": "1024 + h % 60000",
            "pid": "1000 + h % 30000", "comm": "concat('worker', toString(service))", "netns": "4026531833",
            "unit": "concat('svc', toString(service), '.service')", "user": "'www-data'", "mode": "'ebpf'",
            "size": "1048577 + h % 10000000", "peak": "size", "threshold": "1048576", "limit": "6291456",
            "id": "lower(hex(sipHash64(e)))", "run": "concat('r', toString(host_n))", "seq": "toInt64(number)",
            "start": "told_at - part * lasts / 2", "end": "if(part = 2, told_at, null)", "fill": "h % 100",
            "cause": f"if(part = 0, null, [{later['cause']}][h % 4 + 1])", "reason": f"if(part = 0, null, {said})",
            "confidence": "if(part = 0, null, 'high')", "condition": "'size'", "severity": "'warning'",
            "body": f"concat('{{\"{body}, '}}')",
        }  # fmt: skip
        word = {"host": told["host"], "last": "told_at", "event": "event", "seq": "number", "run": "run"}
        return told | {f"w_{column.name}": word[column.name] for column in WORDS if column.name in word}


def _insert(table: str, types: dict[str, str], told: dict[str, str], numbers: str) -> str:
    columns = ", ".join(f"`{name}`" for name in types)
    values = ", ".join(
        f"cast({told.get(name, 'null')}, '{type_}') as `{name}`" for name, type_ in types.items()
    )
    return f"insert into {table} ({columns}) select {values} from ({numbers})"


def _packed(net: str, of: str) -> str:
    return (
        f"unhex(concat('00000000000000000000ffff0{net}', leftPad(lower(hex(toUInt16({of}))), 4, '0'), '05'))"
    )


def make(connection: Connection, count: int, days: float, now_s: float) -> None:
    """Insert so many alerts, the last of which was told about now, and have the tables as upkeep leaves them."""
    alerts = Alerts(count, days, now_s)
    for name in ("open_said_of", "open_sums_of"):
        connection.exec_driver_sql(f"drop view {name}")
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        connection.exec_driver_sql(alerts.insert(first, last, "not is_open"))
        connection.execute(text(alerts.ended(first, last)))
        log.info("%d alerts after %.0f s", last, time.time() - now_s)
    make_tables(connection)  # the views again
    connection.exec_driver_sql(alerts.insert(0, count, "is_open and part < 2"))
    change(connection, f"alter table hours_told update came = came - {2 * MARGIN_S} where true")
    while make_sums(connection, 0.0):
        pass
