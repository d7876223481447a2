# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets are folded by whatever they have in common, and the alert has the fields that all of them share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.judge.fold import MOST_GROUPS
from sockbpf.judge.storm import PATIENCE, common_of
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Common, Folded, Notice, alert_of
from sockbpf.record.event import Protocol
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.fields import parameters
from sockbpf.record.rule import Applied
from sockbpf.record.text import sentence
from tests.unit.folds import SEND, TCP, S, assert_forgotten, fold, notice, said

DATABASE = replace(TCP, local_port=40000, remote_ip="192.0.2.7", remote_port=5432)
UNKNOWN: dict[str, Any] = {"pid": 0, "comm": ""}


def client(number: int, ns: int = 5 * S, event: str = EXCEEDED, **changed: Any) -> Notice:
    """Return a notice of a connection to the database, from a port of its own."""
    made = notice(number, ns, event, direction=SEND, socket=replace(DATABASE, local_port=40000 + number))
    return replace(made, **changed)


def folds(noticed: list[Notice], above: int = 3) -> list[Folded]:
    stage = fold(above, groups_of=common_of)
    assert len(stage.on_notices(noticed, 5 * S)) == above
    return [one for one in stage.on_time(6 * S) if isinstance(one, Folded)]


def fields_of(one: Folded) -> dict[str, str]:
    return parameters(alert_of(one, seq=17, host="h", unix_offset_ns=0))


def test_connections_to_a_dead_database_are_one_remote_service() -> None:
    (one,) = folds([client(number) for number in range(40)])
    fields = fields_of(one)
    shown = {name: fields.get(name) for name in ("count", "fold", "local_ip", "local_port", "remote_ip")}
    assert shown == {
        "count": "37", "fold": "remote-service", "local_ip": "192.0.2.1", "local_port": "0",
        "remote_ip": "192.0.2.7",
    }  # fmt: skip
    assert (fields["remote_port"], fields["pid"], fields["comm"]) == ("5432", "4003", "reader")
    assert fields["worst"].startswith("192.0.2.1:40039=2039;192.0.2.1:40038=2038;")


def test_connections_of_one_process_to_many_places() -> None:
    sockets = [replace(DATABASE, local_port=40000 + n, remote_ip=f"192.0.2.{n}") for n in range(40)]
    (one,) = folds([client(number, socket=socket) for number, socket in enumerate(sockets)])
    fields = fields_of(one)
    assert (fields["fold"], fields["count"], fields["pid"]) == ("process", "37", "4003")
    assert "remote_ip" not in fields
    assert fields["remote_port"] == "5432"  # all of them share it
    assert fields["worst"].startswith("192.0.2.39:5432=2039;")


def test_connections_of_a_server_are_its_local_service() -> None:
    (one,) = folds([notice(number, 5 * S) for number in range(40)])
    fields = fields_of(one)
    assert (fields["fold"], fields["local_port"], fields["remote_ip"]) == (
        "local-service",
        "443",
        "192.0.2.2",
    )
    assert "remote_port" not in fields


def test_without_anything_in_common_each_is_told() -> None:
    stage = fold(3, groups_of=common_of)
    sockets = [
        replace(DATABASE, local_port=40000 + n, remote_ip=f"192.0.2.{n}", uid=1000 + n) for n in range(40)
    ]
    noticed = [client(number, socket=socket, **UNKNOWN) for number, socket in enumerate(sockets)]
    assert stage.on_notices(noticed, 5 * S) == noticed
    one_process = [replace(each, pid=5003 + number) for number, each in enumerate(noticed)]
    assert stage.on_notices(one_process, 7 * S) == one_process


def test_sockets_with_nothing_but_a_rule_in_common() -> None:
    sockets = [
        replace(DATABASE, local_port=40000 + n, remote_ip=f"192.0.2.{n}", uid=1000 + n) for n in range(40)
    ]
    of_rule = [
        client(number, socket=socket, applied=Applied("backup" if number % 2 else "web"), **UNKNOWN)
        for number, socket in enumerate(sockets)
    ]
    stage = fold(3, groups_of=common_of)
    assert len(stage.on_notices(of_rule, 5 * S)) == 6
    folded = [one for one in stage.on_time(6 * S) if isinstance(one, Folded)]
    assert [(one.common, one.count, one.notice.applied.rule) for one in folded] == [
        (Common.RULE, 17, "web"), (Common.RULE, 17, "backup")
    ]  # fmt: skip
    assert "sockets of rule web" in sentence(fields_of(folded[0]))


def test_sockets_that_are_not_connected_have_no_remote_service_in_common() -> None:
    udp = replace(TCP, protocol=Protocol.UDP, remote_ip="0.0.0.0", remote_port=0)
    sockets = [replace(udp, local_port=5000 + n, uid=1009) for n in range(40)]
    (one,) = folds([notice(n, 5 * S, socket=socket) for n, socket in enumerate(sockets)])
    assert one.common is Common.PROCESS
    (one,) = folds([notice(n, 5 * S, socket=socket, **UNKNOWN) for n, socket in enumerate(sockets)])
    assert one.common is Common.USER  # where the process is not known


def test_a_name_that_several_processes_share_is_kept() -> None:
    (one,) = folds([client(number, pid=5000 + number, comm="worker") for number in range(40)])
    fields = fields_of(one)
    assert fields["comm"] == "worker"
    assert "pid" not in fields


def test_an_owner_that_is_not_known_of_all_is_not_told() -> None:
    (one,) = folds([client(number, **(UNKNOWN if number == 20 else {})) for number in range(40)])
    assert not fields_of(one).keys() & {"pid", "comm"}


def test_a_storm_of_a_service_does_not_make_one_of_its_process() -> None:
    """A server whose clients hang, and then one of its own connections to another server."""
    stage = fold(3, groups_of=common_of)
    for number in range(40):
        now_ns = 5 * S + number * S // 10
        stage.on_notices([notice(number, now_ns)], now_ns)
    upstream = client(100, 9 * S)
    assert stage.on_notices([upstream], 9 * S)[-1] is upstream


@pytest.mark.parametrize("other", [{"condition": Condition.STALLED}, {"severity": Severity.CRITICAL}])
def test_what_was_over_and_how_bad_are_not_mixed(other: dict[str, Any]) -> None:
    stage = fold(1, groups_of=common_of)
    noticed = [client(number, **(other if number % 2 else {})) for number in range(40)]
    assert said(stage.on_notices(noticed, 5 * S)) == [(EXCEEDED, 0), (EXCEEDED, 0)]
    assert said(stage.on_time(6 * S)) == [(EXCEEDED, 19), (EXCEEDED, 19)]


def test_what_comes_later_stays_in_its_storm_whoever_has_the_socket_then() -> None:
    stage = fold(1, groups_of=common_of)
    stage.on_notices([client(number) for number in range(4)], 5 * S)
    (begun,) = stage.on_time(6 * S)
    later = [client(number, 7 * S, ONGOING, pid=5003) for number in range(1, 4)]
    assert stage.on_notices(later, 7 * S) == []
    (going,) = stage.on_time(8 * S)
    ends = [client(number, 9 * S, CLEARED, **UNKNOWN) for number in range(1, 4)]
    assert stage.on_notices(ends, 9 * S) == []
    (ended,) = stage.on_time(10 * S)
    assert said([begun, going, ended]) == [(EXCEEDED, 3), (ONGOING, 3), (CLEARED, 3)]
    folded = [one for one in (begun, going, ended) if isinstance(one, Folded)]
    assert {(one.notice.id, one.common) for one in folded} == {(folded[0].notice.id, Common.REMOTE_SERVICE)}
    assert_forgotten(stage, 20 * S)


def test_only_so_many_groups_are_remembered() -> None:
    stage = fold(10**6, window_ns=3600 * S, groups_of=common_of)
    for number in range(MOST_GROUPS + 7):
        socket = replace(TCP, local_port=number & 0xFFFF, remote_ip=f"192.0.{number >> 8}.{number & 255}")
        stage.on_notices([notice(number, 5 * S, socket=socket, **UNKNOWN)], 5 * S)
    assert len(stage._crossings) == MOST_GROUPS


def test_of_one_group_only_so_many_crossings_are_remembered() -> None:
    stage = fold(3, window_ns=3600 * S, groups_of=common_of)
    for number in range(10_007):
        stage.on_notices([notice(number, 5 * S + number)], 5 * S + number)
    assert max(len(each.at_ns) for each in stage._crossings.values()) <= 2 * 3


CROSSING = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 1, S // 3, S])
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CROSSING, max_size=60), st.integers(1, 3), st.randoms(use_true_random=False))
def test_each_notice_counts_once_and_each_storm_clears_once(
    crossings: list[tuple[int, int, int, int]], above: int, random: Any
) -> None:
    stage = fold(above, groups_of=common_of)
    passed_on: list[Notice | Folded] = []
    now_ns = 5 * S
    begun: list[Notice] = []
    for number, (local, remote, process, later_ns) in enumerate(crossings):
        now_ns += later_ns
        passed_on += stage.on_time(now_ns)
        socket = replace(TCP, local_port=440 + local, remote_port=5000 + remote)
        begun.append(notice(number, now_ns, socket=socket, pid=process, comm="x" if process else ""))
        passed_on += stage.on_notices([begun[-1]], now_ns)
    random.shuffle(begun)
    for each in begun:
        now_ns += random.choice([0, S // 2])
        passed_on += stage.on_notices([replace(each, event=CLEARED, ns=now_ns)], now_ns)
    passed_on += stage.on_time(now_ns + PATIENCE * S)
    sums: Counter[tuple[str, str]] = Counter()
    cleared: Counter[str] = Counter()
    for one in passed_on:
        at = one.notice if isinstance(one, Folded) else one
        sums[at.id, at.event] += one.count if isinstance(one, Folded) else 1
        cleared[at.id] += at.event == CLEARED
    for event in (EXCEEDED, CLEARED):
        assert sum(count for (_, its), count in sums.items() if its == event) == len(crossings)
    assert all(sums[id_, EXCEEDED] == sums[id_, CLEARED] for id_ in cleared)
    assert set(cleared.values()) <= {1}
    assert_forgotten(stage, now_ns + (PATIENCE + 2) * S)
