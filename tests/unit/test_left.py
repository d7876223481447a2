# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept of an open episode for a later run: written and read, in the same boot and in a later one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sockbpf.record.alert import EXCEEDED, ONGOING, Folded
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.left import Left, left_of, left_of_notice
from tests.unit.notices import TCP, S, notice

UNIX_NS = 1795343000 * S
TOLD = notice(
    ONGOING, 7, 90 * S, since_ns=70 * S, socket=TCP, pid=17, comm='re"ader\n', severity=Severity.CRITICAL,
    condition=Condition.STALLED, direction=Direction.SEND,
)  # fmt: skip


def kept(**changed: object) -> Left:
    left = left_of_notice(TOLD, "boot-1", UNIX_NS)
    assert left
    return replace(left, **changed)  # type: ignore[arg-type]


def test_what_is_written_is_read() -> None:
    left = kept()
    assert left_of(left.text()) == left
    assert "\n" not in left.text()
    assert left.socket == TCP
    udp = left_of_notice(replace(TOLD, socket=replace(TCP, protocol=Protocol.UDP)), "b", 0)
    assert udp
    assert left_of(udp.text()).socket.protocol is Protocol.UDP


def test_a_fold_is_known_as_one_and_a_rate_is_not_kept() -> None:
    fold = left_of_notice(Folded(TOLD, 3, ()), "boot-1", UNIX_NS)
    assert fold
    assert (fold.id, left_of(fold.text()).is_fold) == (TOLD.id, True)
    rate = replace(notice(EXCEEDED, 1, 1, direction=Direction.RATE), socket=None)
    assert left_of_notice(rate, "boot-1", UNIX_NS) is None


def test_its_end_has_what_was_told_of_it() -> None:
    end = kept().ended("boot-1", 100 * S, UNIX_NS, "between then and now")
    assert (end.id, end.since_ns, end.ns, end.size, end.peak) == (TOLD.id, 70 * S, 100 * S, 0, TOLD.peak)
    assert (end.condition, end.severity, end.direction) == (TOLD.condition, TOLD.severity, TOLD.direction)
    assert end.why
    assert end.why.reason == "between then and now"


def test_in_a_later_boot_its_beginning_is_as_long_ago_by_the_date() -> None:
    booted_ns = UNIX_NS + 1000 * S
    assert kept().since_at("boot-2", booted_ns) == 70 * S - 1000 * S
    end = kept().ended("boot-2", 5 * S, booted_ns, "")
    assert end.ns - end.since_ns == 935 * S
    ahead = kept().ended("boot-2", 5 * S, UNIX_NS - 1000 * S, "")
    assert ahead.since_ns == ahead.ns, "the date was set back: it did not begin after its end"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 7), ("since_ns", "7"), ("since_ns", 7.0), ("told_ns", 2**64), ("told_ns", True), ("netns", None),
        ("protocol", 99), ("direction", 9), ("mode", "guess"), ("condition", ""), ("severity", "bad"), ("is_fold", 1),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(name: str, value: object) -> None:
    said = json.loads(kept().text()) | {name: value}
    with pytest.raises(ValueError, match=r".+"):
        left_of(json.dumps(said))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "{}", "[" * 100_000, '"x"'])
def test_what_is_no_such_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        left_of(text)
