# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Worst first: what is over, by how far, then the fullest, then the largest; and which sockets a filter asks for."""

from __future__ import annotations

import random

import pytest

from sockbpf.errors import ConfigError
from sockbpf.judge.levels import Levels
from sockbpf.judge.ranking import asks_whose, fits, fits_whose, is_empty, is_over, nearness, rank
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.rule import Applied
from sockbpf.record.socket_row import Whose
from sockbpf.settings.filters import asked_of
from tests.unit.socket_rows import CLOSE_WAIT, MIB, a_listener, a_row


def test_the_worst_comes_first_and_the_order_stays() -> None:
    order = [
        a_row(recv=3 * MIB),
        a_listener(250, 500),
        a_row(send=2 * MIB, local_port=1),
        a_row(send=2 * MIB, local_port=2),
        a_row(recv=MIB),
        a_row(recv=MIB // 2),
        a_listener(11, 100),
        a_row(send=3),
        a_row(recv=2),
        a_row(local_port=7),
        a_row(local_port=8),
    ]
    assert [is_over(row) for row in order] == [True] * 4 + [False] * 7
    for seed in range(23):
        mixed = order.copy()
        random.Random(seed).shuffle(mixed)
        assert sorted(mixed, key=rank) == order


def test_a_share_of_the_buffer_is_judged_by_what_is_charged() -> None:
    share = Levels(50, 40, 0, 0, of_buffer=True)
    at, above = a_row(recv=2 * MIB, levels=share), a_row(recv=2 * MIB + 1, levels=share)
    assert (is_over(at), is_over(above)) == (False, True)
    assert nearness(at.queues[Direction.RECV]) == 1
    assert nearness(above.queues[Direction.RECV]) > 1
    assert at.queues[Direction.RECV].threshold == 2 * MIB


def test_what_a_rule_ignores_is_never_over() -> None:
    row = a_row(recv=4 * MIB, levels=Levels(0, 0, 0, 0, applied=Applied(ignores=True)))
    assert not is_over(row)
    assert nearness(row.queues[Direction.RECV]) == 0
    assert not is_over(a_listener(900, 500, threshold=None))


def test_what_holds_nothing_is_empty() -> None:
    assert [is_empty(row) for row in (a_row(), a_row(send=1), a_listener(0, 5), a_listener(1, 5))] == [
        *(True, False, True, False)
    ]


ROW = a_row(recv=5, netns=7, uid=1000, state=CLOSE_WAIT)
WHOSE = Whose(17, "nginx-worker", "www", "/system.slice/nginx.service")


@pytest.mark.parametrize(
    ("fitting", "other"),
    [
        ({"port": ["443"]}, {"port": ["80"]}),
        ({"port": ["50000-50100"]}, {"port": ["1-442"]}),
        ({"local_port": ["80,443"]}, {"local_port": ["50021"]}),
        ({"remote_port": ["50021"]}, {"remote_port": ["443"]}),
        ({"ip": ["198.51.100.0/24"]}, {"ip": ["10.0.0.0/8"]}),
        ({"local_ip": ["192.0.2.1"]}, {"local_ip": ["198.51.100.7"]}),
        ({"remote_ip": ["::ffff:198.51.100.7"]}, {"remote_ip": ["2001:db8::/32"]}),
        ({"user": ["1000"]}, {"user": ["0"]}),
        ({"netns": ["7"]}, {"netns": ["8"]}),
        ({"netns": ["blue"]}, {"netns": ["red"]}),
        ({"state": ["close-wait"]}, {"state": ["ESTAB", "LISTEN"]}),
        ({"port": ["443"], "ip": ["198.51.100.7"]}, {"port": ["443"], "ip": ["10.0.0.1"]}),
        ({"process": ["nginx*"]}, {"process": ["nginx"]}),
        ({"unit": ["nginx.service"]}, {"unit": ["*.socket"]}),
        ({"cgroup": ["/system.slice/*"]}, {"cgroup": ["/user.slice/*"]}),
    ],
)
def test_all_conditions_must_hold_and_of_each_one_value(
    fitting: dict[str, list[str]], other: dict[str, list[str]]
) -> None:
    def names(netns: int) -> list[str]:
        return ["blue"] if netns == 7 else []

    assert fits_whose(asked_of(fitting), ROW, WHOSE, names)
    asked = asked_of(other)
    assert not fits_whose(asked, ROW, WHOSE, names)
    assert fits(asked, ROW, names) == asks_whose(asked) == bool(other.keys() & {"process", "unit", "cgroup"})


def test_protocols_are_asked_for_too() -> None:
    assert not fits(asked_of({}, [Protocol.UDP]), ROW, lambda _: ())
    assert fits(asked_of({"port": ["443"]}, [Protocol.TCP, Protocol.UDP]), ROW, lambda _: ())


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("port", "65536", "--port: expected a port from 0 to 65535, or a range such as 8000-8100, got '65536'"),
        ("local_ip", "10.0.0.1/8", "--local-ip: expected a prefix without bits behind its length"),
        ("process", "a/b", "--process: expected a process's name, without a path, got 'a/b'"),
        ("state", "open", "--state: expected one of ESTAB, SYN-SENT"),
        ("user", "\x1b[31m", "--user: expected a user's name or number, got"),
    ],
)  # fmt: skip
def test_a_fault_names_the_option_and_what_was_expected(option: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        asked_of({option: ["1", value] if option in {"port", "user"} else [value]})
    (fault,) = refused.value.faults
    assert fault.startswith(expected)
    assert fault.isprintable()
