# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Samples of services: what looks saw, step by step, in a bounded number of series."""

from __future__ import annotations

from sockbpf.judge.recorder import MOST, MOST_OF_A_USER, Recorder
from sockbpf.judge.services import Service
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.history import MOST as GREATEST
from sockbpf.record.history import Sample, Series
from sockbpf.record.service import OTHER

RECV = Protocol.TCP, Direction.RECV
ACCEPT = Protocol.TCP, Direction.ACCEPT
AT_S = 1_795_343_120


def holding(*sizes: int, uid: int = 0, drops: int = 0) -> Service:
    made = Service(uid)
    for size in sizes:
        made.kinds[RECV].add(size, size, 1000)
    made.kinds[RECV].drops = drops
    return made


def of(service: str) -> Series:
    return Series("web1", service, "tcp", "RECV")


def test_a_step_has_the_greatest_of_its_looks_and_all_drops() -> None:
    made = Recorder("web1")
    made.record({"a.service": holding(300, 200, 10, drops=3)}, AT_S + 1, 0)
    made.record({"a.service": holding(250, 900, drops=4)}, AT_S + 9.9, 9)
    made.record({"a.service": holding(5)}, AT_S + 10, 10)
    assert made.take() == {of("a.service"): {AT_S: Sample(900, 90, 3, 7), AT_S + 10: Sample(5, 0, 1, 0)}}
    assert made.take() == {}


def test_an_empty_service_has_no_sample_but_for_what_it_dropped() -> None:
    made = Recorder("web1")
    dropping = Service()
    dropping.kinds[ACCEPT].add(0, 0, 128)
    dropping.kinds[ACCEPT].drops = 2
    made.record({"empty": holding(0), "full": dropping}, AT_S, 0)
    assert made.take() == {Series("web1", "full", "tcp", "ACCEPT"): {AT_S: Sample(0, 0, 0, 2)}}


def test_ports_of_one_user_take_few_names_and_the_rest_is_told_as_one() -> None:
    made = Recorder("web1")
    ports = {str(20_000 + number): holding(10 + number, uid=1000, drops=1) for number in range(503)}
    made.record(ports | {"a.service": holding(7)}, AT_S, 0)
    told = made.take()
    assert len(told) == MOST_OF_A_USER + 2
    assert told[of("a.service")] == {AT_S: Sample(7, 0, 1, 0)}
    rest = 503 - MOST_OF_A_USER
    assert told[of(OTHER)] == {AT_S: Sample(10 + rest - 1, (10 + rest - 1) // 10, rest, rest)}


def test_series_are_bounded() -> None:
    made = Recorder("web1")
    for look in range(3):
        seen = {f"s{look}-{number}.service": holding(100) for number in range(MOST // 2)}
        made.record(seen, AT_S + 10 * look, look)
    told = made.take()
    assert len(told) == MOST + 1
    assert sum(sample.sockets for samples in told.values() for sample in samples.values()) == 3 * (MOST // 2)


def test_no_value_is_greater_than_a_store_takes() -> None:
    made = Recorder("web1")
    full = Service()
    full.kinds[ACCEPT].add(20_000, 20_000, 1)
    full.kinds[ACCEPT].drops = GREATEST.drops
    for _ in range(2):
        made.record({"a.service": full, "b.service": full}, AT_S, 0)
    assert {sample for samples in made.take().values() for sample in samples.values()} == {
        Sample(20_000, GREATEST.fill, 1, GREATEST.drops)
    }


def test_a_step_that_still_runs_is_taken_with_all_of_its_looks() -> None:
    made = Recorder("web1")
    made.record({"a.service": holding(9, drops=1), "b.service": holding(9)}, AT_S - 1, 0)
    made.record({"a.service": holding(9, drops=5)}, AT_S + 1, 0)
    assert made.take(AT_S + 2) == {
        of(name): {AT_S - 10: Sample(9, 0, 1, drops)} for name, drops in (("a.service", 1), ("b.service", 0))
    }
    made.record({"a.service": holding(9, drops=7)}, AT_S + 9, 0)
    assert made.take(AT_S + 9.9) == {}
    assert made.take(AT_S + 10) == {of("a.service"): {AT_S: Sample(9, 0, 1, 12)}}
    made.record({"a.service": holding(9)}, AT_S + 20, 0)
    assert made.take() == {of("a.service"): {AT_S + 20: Sample(9, 0, 1, 0)}}
