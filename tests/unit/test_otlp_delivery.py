# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alerts on their way to a receiver of OTLP: each is delivered or given up, once, and counted as what it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from sockbpf.delivery.destinations.otlp import Otlp
from sockbpf.settings.destinations import OtlpSettings
from tests.unit.offices import Office, office, until
from tests.unit.otlp_receiver import Answered, Received, attributes, receiver, rejected
from tests.unit.told_alerts import told

ALERTS = [told(id_=f"e{seq % 3}", seq=str(seq)) for seq in range(16)]


def sent(answer: Callable[[Received], Answered]) -> tuple[Received, Office]:
    """Deliver the alerts to a receiver that answers by what it has received; return when none is owed."""
    with ExitStack() as stack:
        received: Received = stack.enter_context(receiver(lambda _: answer(received)))
        its = Otlp(OtlpSettings.model_validate({"url": received.url}))
        at = office(None, {"otlp": its}, workers=1)
        at.put(*ALERTS)
        until(lambda: sum(at.counted("delivered", "given_up")) == len(ALERTS))
        assert at.stop() == 0
    return received, at


def seqs(received: Received, message: int | None = None) -> list[int]:
    """Return what was received, of all requests or of one."""
    one = received if message is None else Received(messages=[received.messages[message]])
    return [attributes(record.attributes)["sockbpf.seq"] for record in one.records()]


def test_many_go_by_few_requests() -> None:
    received, at = sent(lambda _: Answered())
    assert sorted(seqs(received)) == list(range(16))
    assert len(received.messages) <= 2
    for episode in range(3):
        assert [seq for seq in seqs(received) if seq % 3 == episode] == list(range(episode, 16, 3))
    assert at.counted("delivered", "given_up", "retried") == (16, 0, 0)


def test_refused_ones_are_given_up_as_many_as_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    received, at = sent(lambda got: rejected(3, "too old") if len(got.messages) == 1 else Answered())
    number = len(seqs(received, 0))
    assert at.counted("delivered", "given_up", "retried") == (13, 3, 0)
    assert sorted(seqs(received)) == list(range(16))  # nothing was sent again
    assert (
        f"the receiver refused 3 of {number} alerts of a request, it does not say which: too old"
        in caplog.text
    )


def test_one_that_is_not_understood_takes_no_other_with_it() -> None:
    def answer(got: Received) -> Answered:
        return Answered(400 if 7 in seqs(got, -1) else 200)

    received, at = sent(answer)
    assert at.counted("delivered", "given_up", "retried") == (15, 1, 0)
    taken = [seq for message in range(len(received.messages)) if 7 not in seqs(received, message)
             for seq in seqs(received, message)]  # fmt: skip
    assert sorted(taken) == [seq for seq in range(16) if seq != 7]


def test_where_nobody_may_come_in_nothing_is_sent_again() -> None:
    received, at = sent(lambda _: Answered(401))
    assert at.counted("delivered", "given_up", "retried") == (0, 16, 0)
    assert sorted(seqs(received)) == list(range(16))


def test_what_is_too_much_now_arrives_later() -> None:
    received, at = sent(lambda got: Answered(429 if len(got.messages) <= 2 else 200))
    delivered, given_up, retried = at.counted("delivered", "given_up", "retried")
    assert (delivered, given_up) == (16, 0)
    assert retried == len(seqs(received)) - 16 > 0
    first = list(dict.fromkeys(seqs(received)))
    for episode in range(3):
        assert [seq for seq in first if seq % 3 == episode] == list(range(episode, 16, 3))
