# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The queues of a host by service: a bounded number of sums, which lose nothing."""

from __future__ import annotations

import random

import pytest

from sockbpf.judge.services import (
    DAY_S,
    LEFT_S,
    MOST,
    MOST_A_DAY,
    MOST_OF_A_USER,
    Key,
    Service,
    Services,
    Sums,
)
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.service import OTHER

RECV = Protocol.TCP, Direction.RECV
UDP = Protocol.UDP, Direction.RECV


def holding(size: int, *, uid: int = 0, stalled: int = 0, drops: int = 0) -> Service:
    made = Service(uid)
    made.kinds[RECV].add(size, size, 1 << 20)
    made.kinds[RECV].stalled = stalled
    made.kinds[RECV].drops = drops
    return made


def names(shown: dict[Key, Sums]) -> set[str]:
    return {service for _, _, service in shown} - {OTHER}


def test_sums_are_those_of_the_queues() -> None:
    web = Service()
    web.kinds[RECV].add(3000, 2500, 10_000)
    web.kinds[RECV].add(500, 9000, 10_000)
    web.kinds[RECV].add(0, 4000, 1000)
    web.kinds[UDP].add(7, 0, 0)
    shown = Services().take({"web.service": web}, 0)
    assert shown == {
        (*RECV, "web.service"): Sums(3500, 0, 2, 0.9, largest=3000),
        (*UDP, "web.service"): Sums(7, 0, 1, 0.0, largest=7),
    }


def test_a_sum_that_was_shown_goes_on_as_nothing() -> None:
    services = Services()
    services.take({"a": holding(5, drops=3)}, 0)
    assert services.take({}, LEFT_S) == {(*RECV, "a"): Sums(drops=3)}
    assert services.take({"a": holding(5, drops=4)}, DAY_S)[(*RECV, "a")].drops == 7


def test_the_worst_have_names_and_the_rest_is_one() -> None:
    services = Services()
    seen = {f"s{number}": holding(1000 + number) for number in range(MOST + 20)}
    seen |= {"small but stalled": holding(1, stalled=1), "empty": holding(0)}
    shown = services.take(seen, 0)
    assert names(shown) == {"small but stalled", *(f"s{number}" for number in range(21, MOST + 20))}
    assert shown[(*RECV, OTHER)] == Sums(sum(range(1000, 1021)), 0, 21, 1020 / (1 << 20), largest=1020)
    assert services.unnamed == 21


def test_a_name_gives_way_once_its_queues_were_empty_for_long() -> None:
    services = Services()
    services.take({f"s{number}": holding(1000) for number in range(MOST)}, 0)
    lasting = {f"s{number}": holding(1000) for number in range(1, MOST)}
    new = {"new": holding(5)}
    assert "new" not in names(services.take(lasting | new, LEFT_S - 1))
    shown = names(services.take(lasting | new, LEFT_S))
    assert shown == lasting.keys() | {"new"}


def test_ports_of_one_user_take_few_names() -> None:
    services = Services()
    ports = {str(20_000 + number): holding(10**6, uid=1000) for number in range(5003)}
    others = {str(number): holding(1, uid=number) for number in range(1, 31)} | {"a.service": holding(1)}
    shown = names(services.take(ports | others, 0))
    assert len(shown & ports.keys()) == MOST_OF_A_USER
    assert shown >= others.keys()
    assert services.unnamed == 5003 - MOST_OF_A_USER


@pytest.mark.parametrize("seed", range(5))
def test_names_are_bounded_at_once_and_in_a_day_and_nothing_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    services = Services()
    first_s: dict[str, float] = {}
    shown_before: set[str] = set()
    now_s, size, drops = 0.0, 0, 0
    for _ in range(400):
        now_s += chance.choice((5, 600, 2 * LEFT_S))
        seen = {
            str(chance.randrange(10_000)): holding(
                chance.randrange(9), uid=chance.randrange(3), drops=chance.randrange(2)
            )
            for _ in range(chance.choice((3, 100)))
        }
        shown = services.take(seen, now_s)
        size = sum(each.kinds[RECV].size for each in seen.values())
        assert sum(sums.size for sums in shown.values()) == size
        drops += sum(each.kinds[RECV].drops for each in seen.values())
        assert sum(sums.drops for sums in shown.values()) <= drops
        assert len(names(shown)) <= MOST
        for name in names(shown) - shown_before:
            first_s[f"{name} {now_s}"] = now_s
        shown_before = names(shown)
        assert sum(now_s - at_s < DAY_S for at_s in first_s.values()) <= MOST_A_DAY
    assert len(first_s) > 2 * MOST_A_DAY, "the bound was reached more than once"
