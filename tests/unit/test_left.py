# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept of an open episode for a later run: written and read, in the same boot and in a later one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Common, Folded
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.left import Left, left_of, lefts_of_notice
from sockbpf.record.rate import HostCounter, Rate
from sockbpf.record.socket_row import Whose
from tests.unit.notices import TCP, S, notice

UNIX_NS = 1795343000 * S
TOLD = notice(
    ONGOING, 7, 90 * S, since_ns=70 * S, socket=TCP, pid=17, comm='re"ader\n', severity=Severity.CRITICAL,
    condition=Condition.STALLED, direction=Direction.SEND,
)  # fmt: skip


def kept(**changed: object) -> Left:
    (left,) = lefts_of_notice(TOLD, "boot-1", UNIX_NS)
    return replace(left, **changed)  # type: ignore[arg-type]


def test_what_is_written_is_read() -> None:
    left = kept()
    assert left_of(left.text()) == left
    assert "\n" not in left.text()
    assert left.socket == TCP
    over_udp = replace(TCP, protocol=Protocol.UDP)
    (udp,) = lefts_of_notice(replace(TOLD, socket=over_udp), "b", 0)
    assert left_of(udp.text()).socket == over_udp


def test_of_a_fold_it_and_each_socket_are_kept() -> None:
    members = tuple(notice(EXCEEDED, number, 7 * S, number) for number in (3, 4))
    told = replace(TOLD, event=EXCEEDED, id="fold")
    fold, *others = lefts_of_notice(Folded(told, 2, (), Common.RULE, members=members), "boot-1", UNIX_NS)
    assert (fold.id, fold.is_fold, fold.common, fold.fold) == ("fold", True, "rule", "")
    assert [(left_of(one.text()).id, one.is_fold, one.fold) for one in others] == [
        ("id-3-3", False, "fold"),
        ("id-4-4", False, "fold"),
    ]


def test_nothing_is_kept_of_what_has_ended() -> None:
    over = replace(TOLD, event=CLEARED)
    assert lefts_of_notice(over, "b", 0) == lefts_of_notice(Folded(over, 3, ()), "b", 0) == []


def test_a_rate_has_a_counter_and_no_socket() -> None:
    counter, rate = HostCounter("UdpRcvbufErrors", 4026531840), Rate(1009, 60)
    told = replace(TOLD, socket=None, direction=Direction.RATE, counter=counter, rate=rate)
    (left,) = lefts_of_notice(told, "boot-1", UNIX_NS)
    assert (left_of(left.text()), left.socket, left.host_counter) == (left, None, counter)
    end = left.ended("boot-1", 100 * S, UNIX_NS, "")
    assert (end.counter, end.rate, end.socket, end.threshold) == (counter, rate, None, TOLD.threshold)


def test_its_end_says_whose_it_was() -> None:
    whose = Whose(17, 're"ader\n', "user", "/a/b.service", "blue", "/a/c.service", container_name="box")
    (left,) = lefts_of_notice(replace(TOLD, whose=whose), "boot-1", UNIX_NS)
    assert left_of(left.text()).ended("boot-1", 100 * S, UNIX_NS, "").whose == whose
    (cut,) = lefts_of_notice(replace(TOLD, whose=replace(whose, cgroup="/" * 1025)), "boot-1", UNIX_NS)
    assert (cut.cgroup, cut.process_cgroup) == ("", "/a/c.service")


def test_what_was_written_before_there_were_further_fields_is_read() -> None:
    later = {
        "user",
        "cgroup",
        "process_cgroup",
        "container_name",
        "netns_name",
        "common",
        "fold",
        "counter",
        "seconds",
    }
    said = {name: value for name, value in json.loads(kept().text()).items() if name not in later}
    assert left_of(json.dumps(said)) == kept()


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
        ("common", "?"),
        ("counter", "7"), ("fold", None), ("user", 7), ("first", "[]"), ("first", '{"a":7}'), ("first", "x"),
        ("seconds", True),
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
