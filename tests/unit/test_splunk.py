# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The destination `splunk` against the documented rules of an HTTP event collector."""

from __future__ import annotations

import gzip
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from sockbpf.delivery.destinations.refusals import MOST
from sockbpf.delivery.destinations.splunk import CHANNEL, Splunk
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.destinations import SplunkSettings
from tests.unit.hec_receiver import TOKEN, Collector, RefusedError, collector
from tests.unit.http_servers import body_of, http_server, say, server_context
from tests.unit.offices import Office, office, until
from tests.unit.told_alerts import HEARTBEAT, TOLD, told

ALERTS = [told(id_=f"e{seq % 3}", seq=str(seq)) for seq in range(16)]


@contextmanager
def sending(url: str, **keys: Any) -> Iterator[Splunk]:
    its = {"url": url, "token": TOKEN, "timeout": "10s", **keys}
    with closing(Splunk(SplunkSettings.model_validate(its))) as made:
        yield made


def delivered(at: Collector, **keys: Any) -> Office:
    """Deliver the alerts; return when none is owed."""
    with sending(at.url, **keys) as its:
        works = office(None, {"splunk": its}, workers=1)
        works.put(*ALERTS)
        until(lambda: sum(works.counted("delivered", "given_up")) == len(ALERTS))
        assert works.stop() == 0
    return works


def failed(url: str, **keys: Any) -> TransportError:
    with sending(url, **keys) as its, pytest.raises(TransportError) as caught:
        its.send_all(ALERTS)
    assert TOKEN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_an_event_is_the_alert(compression: str) -> None:
    with collector() as at, sending(at.url, index="network", compression=compression) as its:
        assert its.send_all([TOLD, HEARTBEAT]) == {}
    (batch,) = at.batches
    for event, alert in zip(batch, (TOLD, HEARTBEAT), strict=True):
        assert event.keys() == {"time", "host", "index", "source", "sourcetype", "event"}
        assert f"{event['time']:.6f}" == alert["timestamp"]
        assert (event["host"], event["index"]) == ("web1", "network")
        assert (event["source"], event["sourcetype"]) == ("sockbpf", "_json")
    assert {name: str(value) for name, value in batch[0]["event"].items()} == TOLD
    assert batch[0]["event"]["size"] == 9007
    assert at.headers[0]["Authorization"] == f"Splunk {TOKEN}"
    assert at.headers[0]["X-Splunk-Request-Channel"] == CHANNEL
    assert at.headers[0].get("Content-Encoding", "none") == compression


def test_what_is_empty_is_left_to_the_token() -> None:
    with collector() as at, sending(at.url, source="", sourcetype="") as its:
        its.send_all([TOLD])
    assert at.events()[0].keys() == {"time", "host", "event"}


def test_many_go_by_few_requests_in_their_order() -> None:
    with collector() as at:
        works = delivered(at)
    assert len(at.batches) <= 2
    assert sorted(at.seqs()) == list(range(16))
    for episode in range(3):
        assert [seq for seq in at.seqs() if seq % 3 == episode] == list(range(episode, 16, 3))
    assert works.counted("delivered", "given_up", "retried") == (16, 0, 0)


@pytest.mark.parametrize("code", [6, 12, 13, 15])
def test_one_that_is_refused_is_given_up_by_name_and_no_other(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(event: Any) -> RefusedError | None:
        return RefusedError(400, code, "no\ngood") if event["event"]["seq"] in {7, 11} else None

    with collector(faulty=faulty) as at:
        works = delivered(at)
    assert works.counted("delivered", "given_up", "retried") == (14, 2, 0)
    assert set(at.seqs()) == set(range(16)) - {7, 11}
    assert "splunk e1/exceeded/7, splunk e2/exceeded/11" in caplog.text
    assert "answered 400: no\\ngood" in caplog.text
    # What came before a refused one may be there twice: nothing says that it was kept.
    assert len(at.seqs()) > 14
    assert len(at.batches) < 2 * len(ALERTS)


def test_many_that_are_refused_are_found_by_halves() -> None:
    def faulty(event: Any) -> RefusedError | None:
        return RefusedError(400, 6, "Invalid data format") if event["event"]["seq"] < MOST + 3 else None

    with collector(faulty=faulty) as at:
        works = delivered(at)
    assert works.counted("delivered", "given_up") == (16 - MOST - 3, MOST + 3)
    assert set(at.seqs()) == set(range(MOST + 3, 16))


def test_one_that_is_not_named_is_found_by_halves() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = gzip.decompress(body_of(handler))
        is_faulty = b'"seq":7,' in body
        said = {"text": "Invalid data format", "code": 6} if is_faulty else {"text": "Success", "code": 0}
        if not is_faulty:
            taken.extend(json.loads(line)["event"]["seq"] for line in body.splitlines())
        say(400 if is_faulty else 200, json.dumps(said).encode())(handler)

    taken: list[int] = []
    with http_server(answer) as served:
        works = delivered(Collector(url=f"http://127.0.0.1:{served.port}"))
    assert works.counted("delivered", "given_up") == (15, 1)
    assert sorted(taken) == [seq for seq in range(16) if seq != 7]


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, 1, "Token disabled"), (401, 2, "Token is required"), (401, 3, "Invalid authorization"),
        (403, 4, "Invalid token"), (400, 5, "No data"), (400, 11, "Invalid data channel"), (404, 404, "not here"),
    ],
)  # fmt: skip
def test_what_no_alert_would_fare_better_with_is_final_at_once(status: int, code: int, text: str) -> None:
    with collector(busy=lambda: RefusedError(status, code, text)) as at, sending(at.url) as its:
        refused = its.send_all(ALERTS)
    assert refused == dict.fromkeys(
        range(16), f"POST {at.url}/services/collector/event: answered {status}: {text}"
    )
    assert len(at.headers) == 1


def test_a_wrong_index_is_final_for_all() -> None:
    """Its number counts otherwise than that of the other codes, and all have the same index."""
    with collector() as at, sending(at.url, index="nowhere") as its:
        refused = its.send_all(ALERTS)
    assert set(refused.values()) == {f"POST {at.url}/services/collector/event: answered 400: Incorrect index"}
    assert len(refused) == len(ALERTS)
    assert len(at.headers) == 1


def test_a_wrong_token_is_not_shown() -> None:
    with collector() as at, sending(at.url, token="wr0ng-t0k3n") as its:
        (reason,) = set(its.send_all(ALERTS).values())
    assert reason.endswith("answered 403: Invalid token")


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (503, 9, "Server is busy"), (500, 8, "Internal server error"), (429, 26, "Too many requests"),
        (503, 18, "HEC is unhealthy, queues are full"), (503, 23, "Server is shutting down"),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(status: int, code: int, text: str) -> None:
    with collector(busy=lambda: RefusedError(status, code, text)) as at, sending(at.url) as its:
        with pytest.raises(TransportError, match=f"answered {status}: {text}") as caught:
            its.send_all(ALERTS)
        assert not caught.value.permanent
        at.busy = lambda: None
        assert its.send_all(ALERTS) == {}
    assert at.seqs() == list(range(16))


def test_what_comes_while_it_is_busy_arrives_later_and_in_order() -> None:
    with collector() as at:
        at.busy = lambda: RefusedError(503, 9, "Server is busy") if len(at.headers) < 4 else None
        works = delivered(at)
    assert works.counted("delivered", "given_up") == (16, 0)
    assert works.counted("retried")[0] > 0
    for episode in range(3):
        assert [seq for seq in at.seqs() if seq % 3 == episode] == list(range(episode, 16, 3))


def test_what_a_busy_server_asks_for_is_heard() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body_of(handler)
        say(503, b'{"text": "Server is busy", "code": 9}', Retry_After="7")(handler)

    with http_server(answer) as served:
        error = failed(f"http://127.0.0.1:{served.port}")
    assert (error.permanent, error.retry_after_s) == (False, 7)
    assert str(error).endswith("/services/collector/event: answered 503: Server is busy")


@pytest.mark.parametrize(
    "body", [b"", b"OK", b"[]", b'{"text": "Success"}', b'{"code": false}', b"<html>", b"[" * 9999]
)
def test_who_answers_otherwise_than_a_collector_has_taken_nothing(body: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body_of(handler)
        say(200, body)(handler)

    with http_server(answer) as served:
        error = failed(f"http://127.0.0.1:{served.port}")
    assert str(error).endswith("answered 200, and not as a collector does")
    assert not error.permanent


def test_nobody_is_there() -> None:
    with collector() as at:
        pass
    error = failed(at.url)
    assert (error.permanent, error.absent) == (False, True)


# indexer acknowledgement


def test_delivered_is_what_is_indexed() -> None:
    with collector(acknowledges=True) as at, sending(at.url) as its:
        at.answers_to_acks = lambda _: len(at.questions) >= 2
        assert its.send_all(ALERTS) == {}
        assert at.questions == [0, 0]
        assert its.send_all(ALERTS[:1]) == {}
    assert at.questions == [0, 0, 1]
    assert at.seqs() == [*range(16), 0]
    assert {each["X-Splunk-Request-Channel"] for each in at.headers} == {CHANNEL}


def test_what_is_never_indexed_is_sent_again_after_the_time_for_it() -> None:
    with collector(acknowledges=True, answers_to_acks=lambda ack: ack > 0) as at:
        begun_s = time.monotonic()
        with sending(at.url) as its:
            its._ack_s = 0.3
            with pytest.raises(TransportError, match=r"not indexed within 0\.3 s") as caught:
                its.send_all(ALERTS)
            assert 0.3 <= time.monotonic() - begun_s < 20
            assert not caught.value.permanent
            assert its.send_all(ALERTS) == {}
    # It is there twice: `id`, `event` and `seq` tell.
    assert at.seqs() == [*range(16), *range(16)]


@pytest.mark.parametrize("status", [503, 429])
def test_a_question_that_comes_when_it_is_busy_is_asked_again(status: int) -> None:
    def busy() -> RefusedError | None:
        return RefusedError(status, 9, "Server is busy") if len(at.headers) == 2 else None

    with collector(acknowledges=True, busy=busy) as at, sending(at.url) as its:
        assert its.send_all(ALERTS) == {}
    assert at.seqs() == list(range(16))
    assert len(at.headers) == 3


def test_a_collector_that_knows_nothing_of_it_any_more_gets_all_again() -> None:
    """It has started anew between the events and the question, or its token has no acknowledgement any more."""

    def busy() -> None:
        at.acknowledges = len(at.headers) == 1

    with collector(acknowledges=True, busy=busy) as at:
        works = delivered(at)
    assert works.counted("delivered", "given_up") == (16, 0)
    assert works.counted("retried")[0] > 0
    assert set(at.seqs()) == set(range(16))


def test_tls_and_headers_are_those_of_http(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context: ssl.SSLContext = server_context(ca.issue_cert("127.0.0.1"))
    with collector(tls=context) as at:
        assert "certificate refused" in str(failed(at.url))
        with sending(at.url, ca_file=str(tmp_path / "ca.pem"), headers={"X-Team": "net"}) as its:
            assert its.send_all([TOLD]) == {}
    assert at.headers[0]["X-Team"] == "net"


def test_settings_show_no_secret() -> None:
    its = SplunkSettings.model_validate(
        {"url": "http://h:8088", "token": "s3cret", "headers": {"X": "s3cret"}}
    )
    assert "s3cret" not in repr(its) + str(its)
