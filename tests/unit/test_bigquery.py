# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The destination `bigquery` against the documented rules of insertAll: rows, insert ids, what is made of errors."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from sockbpf.delivery.destinations.bigquery_rows import ID_BYTES, insert_id, row, schema
from sockbpf.delivery.transport import TransportError, UnusableError
from sockbpf.record.fields import FIELDS
from tests.unit.bigquery_front import ALERTS, TABLE, Fault, Front, destination, failed, front, row_errors
from tests.unit.field_docs import ROOT, SCHEMA, schema_text
from tests.unit.http_servers import raw_server
from tests.unit.offices import Office, office, until
from tests.unit.told_alerts import HEARTBEAT, TOLD, told


def delivered(at: Front) -> Office:
    """Deliver the alerts; return when none is owed."""
    with closing(destination(at.url)) as its:
        works = office(None, {"bigquery": its}, workers=1)
        works.put(*ALERTS)
        until(lambda: sum(works.counted("delivered", "given_up")) == len(ALERTS))
        assert works.stop() == 0
    return works


# rows


def test_a_row_is_the_alert() -> None:
    with front() as at, closing(destination(at.url)) as its:
        assert its.send_all([TOLD, HEARTBEAT]) == {}
    alert, heartbeat = at.kept.values()
    assert alert == TOLD | {"timestamp": "2026-11-22T10:25:23.482913Z"}
    others = json.loads(heartbeat.pop("others"))
    assert others == {"alerts": "12", "oldest_undelivered_seconds": "0.5", "version": "1.10"}
    assert heartbeat == {
        "timestamp": "2026-11-22T10:25:23.000000Z", "event": "heartbeat", "host": "web1", "seq": "7", "run": "r1",
    }  # fmt: skip
    assert list(at.kept) == ["web1/e1/exceeded/7", "web1/1795343123.000000/heartbeat/7"]


def test_the_schema_in_the_documents_is_that_of_the_fields() -> None:
    assert SCHEMA.read_text() == schema_text(), "make fields"
    assert [each["name"] for each in json.loads(SCHEMA.read_text())] == [
        *(field.name for field in FIELDS),
        "others",
    ]
    assert "docs/bigquery-schema.json" in (ROOT / "docs/bigquery.md").read_text()


@pytest.mark.parametrize("name", [field.name for field in FIELDS if field.name != "host"])
def test_whatever_a_field_holds_the_row_fits_its_table(name: str) -> None:
    for text in ("", "x\n\ud800", "-1", "1e5", "9" * 30, "1.5", "NaN", "é" * 5000):
        made = row(TOLD | {"timestamp": "1.5", name: text})
        made.setdefault("timestamp", "2026-11-22T10:25:23Z")
        assert Front()._fits(made), (name, text)
        assert json.dumps(made).isascii()


def test_an_insert_id_is_short_and_tells_alerts_apart() -> None:
    alerts = [*ALERTS, told("cleared"), TOLD | {"host": "h" * 200}, TOLD | {"host": "h" * 199}]
    alerts += [HEARTBEAT, HEARTBEAT | {"timestamp": "1795343124.000000"}]
    ids = [insert_id(alert) for alert in alerts]
    assert len(set(ids)) == len(ids)
    assert all(len(each.encode()) <= ID_BYTES for each in ids)


# errors


def test_many_go_by_few_requests() -> None:
    with front() as at:
        works = delivered(at)
    assert sorted(at.seqs()) == list(range(16))
    assert len(at.inserts) <= 2
    assert works.counted("delivered", "given_up", "retried") == (16, 0, 0)


def test_a_row_that_cannot_be_is_given_up_by_name_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The table is not as ours: one of its columns takes no text."""
    with front() as at:
        at.columns["comm"] = {"name": "comm", "type": "INTEGER", "mode": "NULLABLE"}
        with closing(destination(at.url)) as its:
            alerts = [each | {"comm": "nginx" if each["seq"] in {"7", "11"} else "1"} for each in ALERTS]
            works = office(None, {"bigquery": its}, workers=1)
            works.put(*alerts)
            until(lambda: sum(works.counted("delivered", "given_up")) == len(ALERTS))
            assert works.stop() == 0
    assert works.counted("delivered", "given_up", "retried") == (14, 2, 0)
    assert sorted(at.seqs()) == sorted(set(range(16)) - {7, 11})
    assert (
        "bigquery refused the row: size: it is invalid: bigquery e1/exceeded/7, bigquery e2/exceeded/11"
        in (caplog.text)
    )
    assert len(at.inserts) <= 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault(403, "rateLimitExceeded"), Fault(403, "quotaExceeded"), Fault(403, "accessDenied"), Fault(500),
        Fault(503), Fault(429, "rateLimitExceeded"), Fault(401, "authError"), Fault(502, cut=True),
        Fault(400, "invalid"), Fault(400, "badRequest"), Fault(400, "tableUnavailable"),
        Fault(400, "resourcesExceeded"),
        row_errors({0: "backendError"}), row_errors({0: "timeout", 1: "stopped"}), row_errors({0: "stopped"}),
        b"[]", b"<html>", b'{"insertErrors": [{"index": 99, "errors": [{"reason": "invalid"}]}]}',
        b'{"insertErrors": [{"index": 0, "errors": []}]}', b'{"insertErrors": 7}',
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(fault: Fault | bytes) -> None:
    with front(fault=lambda _: fault) as at, closing(destination(at.url)) as its:
        with pytest.raises(TransportError) as caught:
            its.send_all(ALERTS)
        assert not caught.value.permanent
        at.fault = lambda _: None
        assert its.send_all(ALERTS) == {}
    assert sorted(at.seqs()) == list(range(16))


def test_rows_that_were_not_inserted_for_now_say_why() -> None:
    with front(fault=lambda _: row_errors({0: "backendError", 1: "stopped"})) as at:
        error = failed(at.url)
    assert str(error) == f"bigquery {TABLE}: rows were not inserted: backendError: stopped"
    assert not error.permanent


@pytest.mark.parametrize("fault", [Fault(503, after=True), Fault(after=True, cut=True)])
def test_rows_that_are_there_though_the_answer_says_no_are_there_once(fault: Fault) -> None:
    with front() as at:
        at.fault = lambda _: fault if len(at.inserts) < 3 else None
        works = delivered(at)
    assert works.counted("retried")[0] > 0
    assert sorted(at.seqs()) == list(range(16))
    ids = [each["insertId"] for rows in at.inserts for each in rows]
    assert len(ids) > len(set(ids)) == 16


def test_a_request_that_is_refused_is_halved_until_the_one_is_found() -> None:
    def fault(rows: list[Any]) -> Fault | None:
        is_in = any(each["json"]["seq"] == "7" for each in rows)
        return Fault(400, "badRequest", "no\ngood") if is_in else None

    with front(fault=fault) as at:
        works = delivered(at)
    assert works.counted("delivered", "given_up", "retried") == (15, 1, 0)
    assert sorted(at.seqs()) == [seq for seq in range(16) if seq != 7]


def poisoned(status: int, poor: set[int]) -> Callable[[list[Any]], Fault | None]:
    def fault(rows: list[Any]) -> Fault | None:
        return Fault(status, "invalid") if poor & {int(each["json"]["seq"]) for each in rows} else None

    return fault


@pytest.mark.parametrize("poor", [{0, 1, 2}, {15}, set(range(1, 16)), set(range(15))])
def test_what_is_refused_beside_what_is_taken_is_given_up(poor: set[int]) -> None:
    with front(fault=poisoned(400, poor)) as at, closing(destination(at.url)) as its:
        assert its.send_all(ALERTS).keys() == poor
    assert sorted(at.seqs()) == sorted(set(range(16)) - poor)


def test_a_batch_of_which_much_is_refused_is_halved_by_who_sent_it() -> None:
    """Else one try would last too long."""
    many = [told(id_=f"e{seq}", seq=str(seq)) for seq in range(64)]
    with front(fault=poisoned(400, set(range(0, 64, 2)))) as at, closing(destination(at.url)) as its:
        with pytest.raises(TransportError) as caught:
            its.send_all(many)
        assert caught.value.permanent
        assert len(at.inserts) < 50
        assert its.send_all(many[:8]).keys() == {0, 2, 4, 6}


@pytest.mark.parametrize("poor", [{0}, set(range(16))])
def test_what_is_too_large_by_itself_is_given_up(poor: set[int]) -> None:
    with front(fault=poisoned(413, poor)) as at:
        works = delivered(at)
    assert works.counted("delivered", "given_up", "retried") == (16 - len(poor), len(poor), 0)
    assert sorted(at.seqs()) == sorted(set(range(16)) - poor)


@pytest.mark.parametrize("number", [1, 2, 500])
def test_a_table_that_takes_no_row_costs_no_alert_and_few_requests(number: int) -> None:
    """As one without columns, or a view: each row is answered 400."""
    with front(fault=lambda _: Fault(400, "invalid", "The destination table has no schema.")) as at:
        with closing(destination(at.url)) as its, pytest.raises(TransportError, match="no schema") as caught:
            its.send_all([told(id_=f"e{seq}", seq=str(seq)) for seq in range(number)])
        assert not caught.value.permanent
        assert len(at.inserts) <= 9


def test_a_table_that_is_missing_is_waited_for_with_a_word() -> None:
    with front(table="/elsewhere") as at:
        error = failed(at.url)
        assert not error.permanent
        assert str(error).startswith(
            f"bigquery {TABLE}: answered 404: there is no such table, or not yet: docs/bigquery.md has the command "
            "that makes it (notFound: "
        )
        at.fault = lambda _: setattr(at, "table", Front.table) if len(at.inserts) > 3 else None
        works = delivered(at)
    assert works.counted("delivered", "given_up") == (16, 0)


def test_what_a_failure_says_is_shown_and_its_retry_after_is_heard() -> None:
    with front(fault=lambda _: Fault(403, "rateLimitExceeded", "too\nmany", {"Retry_After": "7"})) as at:
        error = failed(at.url)
    assert str(error) == f"bigquery {TABLE}: answered 403: rateLimitExceeded: too\\nmany"
    assert (error.permanent, error.retry_after_s) == (False, 7)


def test_nobody_is_there() -> None:
    with front() as at:
        pass
    assert str(failed(at.url)) == f"bigquery {TABLE}: ConnectionError: Connection refused"


def test_an_answer_that_drips_is_cut_off_at_the_timeout() -> None:
    def drip(connection: socket.socket, over: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not over.wait(0.05):
            connection.sendall(b" ")

    with raw_server(drip) as url:
        address = url.partition("@")[2].partition("/")[0]
        begun_s = time.monotonic()
        assert str(failed(f"http://{address}", timeout="300ms")).endswith("no answer within 0.3 s")
        assert time.monotonic() - begun_s < 20


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.bigquery", None)
    monkeypatch.delattr("google.cloud.bigquery", raising=False)
    with pytest.raises(UnusableError, match=r"pip install 'sockbpf\[bigquery\]'"):
        destination("http://127.0.0.1:9")


def test_the_columns_are_those_that_bq_takes() -> None:
    for column in schema():
        assert column.keys() == {"name", "type", "mode", "description"}
        assert len(column["description"]) <= 1024
        assert "](" not in column["description"]


def test_google_s_client_takes_little_memory() -> None:
    """It would import what makes tables of answers, where that is installed, as it is here; others find that."""
    program = (
        "import sys, threading, importlib.util as util\n"
        "from sockbpf.delivery.destinations.bigquery_session import FRAMES, library\n"
        "def meanwhile(event, about):\n"
        "    if event == 'import' and about[0] == 'google.cloud.bigquery.client':\n"
        "        other = threading.Thread(target=lambda: print(all(map(util.find_spec, FRAMES))))\n"
        "        other.start(), other.join()\n"
        "sys.addaudithook(meanwhile); library(); print(*(set(FRAMES) & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n\n"
