# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Receive queues of UDP, whose drains nobody sees at first: their growth proves them, by what came last."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.maps import look_up
from sockbpf.kernel.attach.probes import UDP_DRAINS, Probes
from sockbpf.kernel.attach.tables import FIRST, SETTINGS_FIELDS, KernelLevels
from sockbpf.record.event import Direction, Event, What
from sockbpf.settings.config import Config
from tests.abi.draining import assert_told_apart, look, said
from tests.live.bursting import Post
from tests.live.running import one_cpu, stay_on_one_cpu
from tests.live.sockets import udp_socket
from tests.live.waiting import until
from tests.unit.drains import Rule, steps

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, CLEAR = 20_011, 10_007
ROOM = 130_003
"""Less than three quarters of a receive buffer: the rest may be charged for what was read."""

BURSTS, SOCKETS = 1009, 3
LARGE, SMALL = (30_011,), 13 * (1009,)
"""Bytes of the datagrams of a burst: one that crosses alone, and such as each are charged for little."""

STEPS = steps(most=40_009, threshold=THRESHOLD, clear=CLEAR)


@pytest.fixture(scope="module")
def probes() -> Iterator[Probes]:
    made = arm(Config(url="http://127.0.0.1:9/"), KernelLevels(2 * (THRESHOLD,), 2 * (CLEAR,)), Counters())
    assert UDP_DRAINS in made.on_demand
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def burst(post: Post, sizes: tuple[int, ...]) -> None:
    post.put(sizes)
    for size in sizes:
        assert len(post.reader.recv(65_536)) == size


def play(probes: Probes, taken: list[tuple[str, int]], post: Post) -> Rule:
    """Do the same to a real receive queue and to the rule, in what the datagrams are charged for."""
    rule, charged = Rule(THRESHOLD, CLEAR), list[int]()
    for step, size in taken:
        if step == "grow" and rule.size + post.charge(size) <= ROOM:
            post.put((size,))
            charged.append(post.charge(size))
            rule.grow(charged[-1])
        elif step == "drain":
            off = 0
            while charged and off < size:
                off += charged[0]
                post.reader.recv(65_536)
                rule.drain(charged.pop(0))
        elif step == "look":
            look(probes)
            rule.look()
        elif step in ("attach", "detach"):
            rule.attached = step == "attach"
            assert probes.demand([UDP_DRAINS], wanted=rule.attached)
            if rule.attached:  # as the monitor does
                look(probes)
                rule.look()
    return rule


@settings(max_examples=101, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(taken=STEPS)
def test_a_receive_queue_follows_the_rule(probes: Probes, taken: list[tuple[str, int]]) -> None:
    probes.demand(wanted=False)
    with ExitStack() as stack:
        post = Post(udp_socket(stack), udp_socket(stack))
        rule = play(probes, [*taken, ("look", 0)], post)
        assert said(probes, post.reader, Direction.RECV) == rule.said


@pytest.mark.parametrize("sizes", [LARGE, SMALL], ids=["one datagram", "many datagrams"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_bursts_are_told_apart_without_the_hook_of_drains(
    probes: Probes, stack: ExitStack, family: str, sizes: tuple[int, ...]
) -> None:
    probes.demand(wanted=False)
    stack.enter_context(one_cpu())
    post, found = Post(udp_socket(stack, family), udp_socket(stack, family)), []
    for _ in range(BURSTS):
        burst(post, sizes)
        found += said(probes, post.reader, Direction.RECV)
    look(probes)
    assert found + said(probes, post.reader, Direction.RECV) == [What.OVER, What.BACK] * BURSTS


def test_bursts_are_told_apart_while_the_hook_comes_and_goes_and_is_looked_for(
    probes: Probes, stack: ExitStack
) -> None:
    """Several sockets at once, and what user space does at any moment of theirs."""
    probes.demand(wanted=False)
    posts = [Post(udp_socket(stack), udp_socket(stack)) for _ in range(SOCKETS)]
    begun = threading.Barrier(SOCKETS + 1)

    def cross(number: int, post: Post) -> None:
        stay_on_one_cpu(number)
        begun.wait()
        for each in range(BURSTS):
            burst(post, SMALL if each % 2 else LARGE)

    threads = [threading.Thread(target=cross, args=each) for each in enumerate(posts)]
    for thread in threads:
        thread.start()
    begun.wait()
    events: list[Event] = []
    rounds = 0
    while any(thread.is_alive() for thread in threads):
        probes.demand([UDP_DRAINS], wanted=rounds % 2 == 0)
        look(probes)
        events += probes.read()
        rounds += 1
    look(probes)
    events += probes.read()
    for post in posts:
        assert_told_apart(events, post.reader, BURSTS)
    assert probes.tables.tally().lost == 0
    print(f"{rounds} rounds, {probes.skipped()} runs skipped")


def test_the_look_ends_nothing_that_is_over_or_was_just_judged(probes: Probes, stack: ExitStack) -> None:
    probes.demand(wanted=False)
    writer, reader = udp_socket(stack), udp_socket(stack)
    writer.sendto(bytes(30_011), reader.getsockname())
    events = until(lambda: said(probes, reader, Direction.RECV), "the beginning")
    look(probes)
    assert (events, said(probes, reader, Direction.RECV)) == ([What.OVER], [])
    reader.recv(65_536)
    assert said(probes, reader, Direction.RECV) == [], "nobody saw it drain"
    look(probes)
    assert said(probes, reader, Direction.RECV) == [What.BACK]
    look(probes)
    assert said(probes, reader, Direction.RECV) == []


def test_growth_proves_drains_until_the_look_behind_the_attaching(probes: Probes) -> None:
    """No longer: another processor may take off a datagram while one comes. No shorter: one may have drained."""
    names = [name for name, _ in SETTINGS_FIELDS]
    at = struct.calcsize("=" + "".join(code for _, code in SETTINGS_FIELDS[: names.index("sees_udp_drain")]))

    def sees() -> int:
        value = look_up(probes.tables._tables["settings"], FIRST)
        assert value
        return struct.unpack_from("=I", value, at)[0]  # type: ignore[no-any-return]

    probes.demand(wanted=False)
    probes.end_drained()
    found = [sees()]
    probes.demand([UDP_DRAINS], wanted=True)
    found.append(sees())
    probes.end_drained()
    found.append(sees())
    probes.demand([UDP_DRAINS], wanted=False)
    assert [*found, sees()] == [0, 0, 1, 0]
