# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which troubles of several hosts are one: all that cannot send to one remote service, what is wrong there. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sockbpf.record.event import Direction
from sockbpf.record.why import Cause
from sockbpf.store.data.together import RECV, SEND, Queue, Trouble, badness, rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]
    Service = tuple[str, str, int]
    """Protocol, address and port."""
    Key = tuple[str, bool, Service]
    """State and trust, which all queues of an incident share, and what they are to reach."""
    Place = tuple[str, bool, str, int]
    """The same, and protocol and port there."""

LEAST_HOSTS = 3
"""Two hosts may have the same trouble by chance."""
OF_THE_WAY = frozenset(
    each.value
    for each in (
        *(Cause.PEER_NOT_READING, Cause.PEER_SLOW, Cause.PEER_NOT_ANSWERING),
        *(Cause.NO_ACKNOWLEDGEMENT, Cause.PATH_LIMITED),
    )
)
"""Causes that lie at the other end, or on the way to it."""
OF_THIS_END = 2
"""From this rank on a cause says what is wrong at its own end."""
SERVING = frozenset({RECV, Direction.ACCEPT.name})
ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104


@dataclass(slots=True, eq=False)
class OfHost:
    """A trouble of one host, and which of its queues wait for which remote service."""

    trouble: Trouble
    waits: dict[Service, list[Queue]]

    @property
    def worst(self) -> Row:
        return self.trouble.queues[0].rows[0]


@dataclass(slots=True, eq=False)
class Across:
    """The queues of several hosts that wait for one service, the worst first, and what is wrong there if known."""

    service: Service
    queues: list[Queue]
    cause: Trouble | None = None


def waits_of(trouble: Trouble) -> dict[Service, list[Queue]]:
    """Return what of a trouble waits for which remote service."""
    waits: dict[Service, list[Queue]] = {}
    for queue in trouble.queues:
        service = _remote_service(queue)
        if service:
            waits.setdefault(service, []).append(queue)
    return waits


def _remote_service(queue: Queue) -> Service | None:
    """Return what a queue is to reach, where its cause may lie there and not on its own host."""
    row = queue.rows[0]
    may_be_there = row["type"] == SEND and (row["cause"] in OF_THE_WAY or not rank(row))
    if not may_be_there or not row["remote_port"] or row["peer_pid"] or row["peer_id"] or queue.other_end:
        return None
    address, is_everywhere = _address(row["remote_ip"])
    if is_everywhere or address == _address(row["local_ip"])[0]:
        return None
    return row["protocol"] or "", address, row["remote_port"]


@lru_cache(8192)
def _address(text: str | None) -> tuple[str, bool]:
    """Return an address in one spelling, and whether each host may have this address for itself."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return text or "", True
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return str(address), address.is_loopback or address.is_link_local or address.is_unspecified


def across_hosts(found: Sequence[OfHost]) -> tuple[list[OfHost], list[Across]]:
    """Return what is each host's own, and what is one trouble of several; each queue is in one of them."""
    waiting: dict[Key, list[OfHost]] = defaultdict(list)
    for each in found:
        if each.waits:
            worst = each.worst
            for service in each.waits:
                waiting[worst["state"], worst["ours"], service].append(each)
    common = {key: some for key, some in waiting.items() if _is_common(key[-1], some)}
    if not common:
        return list(found), []
    moved = {
        id(queue) for (*_, service), some in common.items() for each in some for queue in each.waits[service]
    }
    causes = _causes(found, common)
    groups = []
    for key, some in common.items():
        queues = [queue for each in some for queue in each.waits[key[-1]]]
        queues.sort(key=lambda queue: (queue.rows[0]["host"], queue.rows[0]["id"]))
        queues.sort(key=lambda queue: badness(queue.rows[0]), reverse=True)
        cause = causes.get(key)
        groups.append(Across(key[-1], queues, cause.trouble if cause else None))
    leading = {id(each) for each in causes.values()}
    own = [rest for each in found if id(each) not in leading and (rest := _without(each, moved))]
    return own, groups


def _is_common(service: Service, some: list[OfHost]) -> bool:
    """Whether they are of several hosts, and not these serve: a client may have the same port at several of them."""
    if len(some) < LEAST_HOSTS or len({each.worst["host"] for each in some}) < LEAST_HOSTS:
        return False
    ports = {queue.rows[0]["local_port"] for each in some for queue in each.waits[service]}
    return len(ports) > 1 or ports <= {0, None, service[-1]}


def _without(each: OfHost, moved: set[int]) -> OfHost | None:
    if not each.waits:
        return each
    left = [queue for queue in each.trouble.queues if id(queue) not in moved]
    if len(left) == len(each.trouble.queues):
        return each
    rest = Trouble(left, each.trouble.others)
    return OfHost(rest, waits_of(rest)) if left else None


def _causes(found: Iterable[OfHost], common: Mapping[Key, list[OfHost]]) -> dict[Key, OfHost]:
    """Return what is wrong at these services by their own hosts, where these tell it."""
    wanted: dict[Place, set[str]] = defaultdict(set)
    for state, ours, (protocol, address, port) in common:
        wanted[state, ours, protocol, port].add(address)
    serving = [(each, places) for each in found if (places := _places(each, wanted))]
    addresses = _addresses(found, {_whose(each) for each, _ in serving}) if serving else {}
    there: dict[Key, list[OfHost]] = defaultdict(list)
    for each, places in serving:
        for key in _served(places, wanted, addresses[_whose(each)]):
            there[key].append(each)
    causes: dict[Key, OfHost] = {}
    taken: set[int] = set()
    for key in sorted(there, key=lambda key: (-len(common[key]), key[-1])):
        free = [each for each in there[key] if id(each) not in taken]
        if free:
            causes[key] = max(
                free, key=lambda each: (rank(each.worst), badness(each.worst), each.worst["id"])
            )
            taken.add(id(causes[key]))
    return causes


def _places(each: OfHost, wanted: Mapping[Place, set[str]]) -> set[tuple[Place, str | None]]:
    """Return at which of the wanted ports it is that something is wrong, each with the address there."""
    worst = each.worst
    if worst["type"] not in SERVING or rank(worst) < OF_THIS_END:
        return set()
    rows = (queue.rows[0] for queue in each.trouble.queues)
    places = (
        ((worst["state"], worst["ours"], row["protocol"], row["local_port"]), row["local_ip"]) for row in rows
    )
    return {(place, ip) for place, ip in places if place in wanted}


def _served(
    places: Iterable[tuple[Place, str | None]], wanted: Mapping[Place, set[str]], own: set[str]
) -> set[Key]:
    """Return which of the wanted services are at these places of a host that has its `own` addresses."""
    served: set[Key] = set()
    for place, ip in places:
        state, ours, protocol, port = place
        here = _address(ip)[0]
        served |= {
            (state, ours, (protocol, address, port))
            for address in wanted[place] & (own if here in ANY else {here})
        }
    return served


def _whose(each: OfHost) -> tuple[str, bool]:
    return each.worst["host"], each.worst["ours"]


def _addresses(found: Iterable[OfHost], hosts: set[tuple[str, bool]]) -> dict[tuple[str, bool], set[str]]:
    """Return the addresses that these hosts have, as far as their queues show them, by who tells it."""
    addresses: dict[tuple[str, bool], set[str]] = {host: set() for host in hosts}
    for each in found:
        if _whose(each) in hosts:
            rows = (row for queue in each.trouble.queues for row in queue.rows)
            addresses[_whose(each)] |= {_address(row["local_ip"])[0] for row in rows}
    return addresses
