# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a receiver of OTLP answers: what is tried again, what is final and counted, what is only said."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess

from sockbpf.delivery.destinations.otlp import Otlp
from sockbpf.delivery.destinations.otlp_post import ANSWER_BYTES, OF_CONTENT
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.destinations import OtlpSettings
from tests.unit.http_servers import raw_server
from tests.unit.otlp_receiver import Answered, Received, attributes, receiver, rejected
from tests.unit.told_alerts import told

ALERTS = [told(seq=str(seq)) for seq in range(5)]
AGAIN = {429, 502, 503, 504}


@contextmanager
def sent_to(answer: Callable[[int], Answered], **keys: Any) -> Iterator[tuple[Received, Otlp]]:
    with receiver(answer) as received:
        its = OtlpSettings.model_validate({"url": received.url, "timeout": "5s", **keys})
        with closing(Otlp(its)) as destination:
            yield received, destination


def status(message: str) -> bytes:
    """Return a google.rpc.Status on the wire: code 3 and a message."""
    text = message.encode()
    return b"\x08\x03\x12" + bytes([len(text)]) + text


@pytest.mark.parametrize("number", [each.value for each in HTTPStatus if each.value >= 300])
def test_every_status(number: int) -> None:
    headers = {"Retry-After": "17"}
    with sent_to(lambda _: Answered(number, headers=headers)) as (received, destination):
        if number in AGAIN | OF_CONTENT:
            with pytest.raises(TransportError) as failed:
                destination.send_all(ALERTS)
            assert failed.value.permanent is (number not in AGAIN)
            assert failed.value.retry_after_s == 17
            assert str(failed.value) == f"POST {received.url}/v1/logs: answered {number}"
        else:  # no part of the request would fare better: nothing of it is sent again
            reason = f"POST {received.url}/v1/logs: answered {number}"
            assert destination.send_all(ALERTS) == dict.fromkeys(range(5), reason)
    assert len(received.paths) == 1


def test_retry_after_may_be_a_date() -> None:
    date = formatdate(time.time() + 100, usegmt=True)
    with (
        sent_to(lambda _: Answered(503, headers={"Retry-After": date})) as (_, destination),
        pytest.raises(TransportError) as failed,
    ):
        destination.send_all(ALERTS)
    assert 90 < (failed.value.retry_after_s or 0) <= 100


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-protobuf", status("no\nroom for t0k.en")),
        ("application/json", json.dumps({"code": 3, "message": "no\nroom for t0k.en"}).encode()),
    ],
)
def test_what_a_failure_says_is_shown_without_secrets(kind: str, body: bytes) -> None:
    with (
        sent_to(lambda _: Answered(400, body, kind), token="t0k.en") as (received, destination),
        pytest.raises(TransportError) as failed,
    ):
        destination.send_all(ALERTS)
    assert str(failed.value) == f"POST {received.url}/v1/logs: answered 400: no\\nroom for ***"
    assert received.headers[0]["Authorization"] == "Bearer t0k.en"


@pytest.mark.parametrize("body", [b"\xff\xff", b"[]", b'{"message": []}', b"[" * 100_000])
@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json", "text/html", ""])
def test_a_failure_that_says_nonsense_is_a_failure(kind: str, body: bytes) -> None:
    with (
        sent_to(lambda _: Answered(503, body, kind)) as (_, destination),
        pytest.raises(TransportError) as failed,
    ):
        destination.send_all(ALERTS)
    assert str(failed.value).endswith("answered 503")


def test_what_is_refused_of_a_request_is_counted() -> None:
    """It does not say which: the number is right, and the reason says that the names are not known."""
    with sent_to(lambda _: rejected(2, "too\nold")) as (_, destination):
        refused = destination.send_all(ALERTS)
    reason = "the receiver refused 2 of 5 alerts of a request, it does not say which: too\\nold"
    assert refused == {3: reason, 4: reason}


@pytest.mark.parametrize("number", [5, 6, 2**40])
def test_all_may_be_refused(number: int) -> None:
    with sent_to(lambda _: rejected(number, "x")) as (_, destination):
        refused = destination.send_all(ALERTS)
    assert refused == dict.fromkeys(range(5), "the receiver refused 5 of 5 alerts of a request: x")


def test_json_is_understood() -> None:
    said = {"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "x"}}
    body = json.dumps(said).encode()
    with sent_to(lambda _: Answered(200, body, "application/json; charset=utf-8")) as (_, destination):
        assert list(destination.send_all(ALERTS)) == [4]


def test_a_message_without_refusals_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with sent_to(lambda _: rejected(0, "soon to be\nrefused")) as (received, destination):
        assert destination.send_all(ALERTS) == {}
        assert destination.send_all(ALERTS) == {}
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == [f"POST {received.url}/v1/logs: it took all and says: soon to be\\nrefused"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"ok", "text/plain"),
        (b"\xff\xff", "application/x-protobuf"),
        (b"{", "application/json"),
        (b'{"partialSuccess": {"rejectedLogRecords": 1e999}}', "application/json"),
    ],
)
def test_an_answer_that_is_no_message_is_delivered_and_warned_of(
    body: bytes, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with sent_to(lambda _: Answered(200, body, kind)) as (_, destination):
        assert destination.send_all(ALERTS) == {}
    assert "its answers are no messages of OTLP" in caplog.text


def test_a_page_of_html_is_no_receiver() -> None:
    with (
        sent_to(lambda _: Answered(200, b"<html>", "text/html; charset=utf-8")) as (_, destination),
        pytest.raises(TransportError, match="with a page of HTML") as failed,
    ):
        destination.send_all(ALERTS)
    assert not failed.value.permanent


def test_no_content_is_delivered() -> None:
    with sent_to(lambda _: Answered(204, kind="")) as (_, destination):
        assert destination.send_all(ALERTS) == {}


@pytest.mark.parametrize("over", [0, 1])
def test_a_long_answer_is_read_up_to_a_bound(over: int) -> None:
    """The protocol has a longer one be final."""
    said = ExportLogsPartialSuccess(error_message="x").SerializeToString()
    body = b"\x0a" + bytes([len(said)]) + said
    body += (
        b"\xf2\x07" + varint(ANSWER_BYTES + over - len(body) - 6) + bytes(ANSWER_BYTES + over - len(body) - 6)
    )
    assert len(body) == ANSWER_BYTES + over
    with sent_to(lambda _: Answered(200, body)) as (_, destination):
        assert len(destination.send_all(ALERTS)) == 5 * over


def varint(number: int) -> bytes:
    """Return a number as Protobuf has it, in four bytes."""
    return bytes([number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128, number >> 21])


@pytest.mark.parametrize("number", [307, 308])
def test_a_redirect_that_repeats_the_request_is_followed(number: int) -> None:
    def answer(which: int) -> Answered:
        return Answered(number, headers={"Location": "/moved/v1/logs"}) if which == 0 else rejected(1, "x")

    with sent_to(answer, token="t0k.en") as (received, destination):
        assert list(destination.send_all(ALERTS)) == [4]
    assert received.paths == ["/v1/logs", "/moved/v1/logs"]
    assert [each["Authorization"] for each in received.headers] == ["Bearer t0k.en"] * 2
    assert [attributes(each.attributes)["sockbpf.seq"] for each in received.records()] == [
        *range(5),
        *range(5),
    ]


def test_a_redirect_to_a_whole_url_of_the_host_has_the_login_too() -> None:
    with receiver(
        lambda which: Answered(308, headers={"Location": moved}) if not which else Answered()
    ) as to:
        moved = f"{to.url}/moved/v1/logs"
        its = OtlpSettings.model_validate({"url": to.url.replace("://", "://mon:s3cret@"), "timeout": "5s"})
        with closing(Otlp(its)) as destination:
            assert destination.send_all(ALERTS) == {}
    assert to.paths == ["/v1/logs", "/moved/v1/logs"]
    assert [each["Authorization"] for each in to.headers] == ["Basic bW9uOnMzY3JldA=="] * 2


def test_no_redirect_leads_to_another_host_or_round_and_round() -> None:
    with receiver() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/v1/logs"
        with sent_to(lambda _: Answered(307, headers={"Location": elsewhere})) as (_, destination):
            assert len(destination.send_all(ALERTS)) == 5
    assert not other.paths
    with sent_to(lambda _: Answered(308, headers={"Location": "/v1/logs"})) as (received, destination):
        assert len(destination.send_all(ALERTS)) == 5
    assert len(received.paths) == 6


def test_a_connection_that_fails_is_tried_again() -> None:
    with receiver() as received:
        pass
    its = OtlpSettings.model_validate({"url": received.url})
    with closing(Otlp(its)) as destination, pytest.raises(TransportError) as failed:
        destination.send_all(ALERTS)
    assert (failed.value.permanent, failed.value.absent) == (False, True)


def test_an_answer_that_drips_is_cut_off_at_the_timeout() -> None:
    def drip(connection: Any, over: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n")
        while not over.wait(0.05):
            connection.sendall(b"\0")

    with raw_server(drip) as url:
        address = url.partition("@")[2].partition("/")[0]
        its = OtlpSettings.model_validate(
            {"url": f"http://{address}", "timeout": "1s", "compression": "none"}
        )
        begun_s = time.monotonic()
        with closing(Otlp(its)) as destination, pytest.raises(TransportError, match="no answer within 1 s"):
            destination.send_all([])
        assert time.monotonic() - begun_s < 20
