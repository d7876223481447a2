# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which rule applies to a queue: the first whose conditions all hold. Pure: no I/O.

This is what is meant by a rule. The kernel side decides the same by maps (bpf/rules.h); a test compares the two.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from sockbpf.record.cgroup import container_of, shown_container, unit_of
from sockbpf.record.rule import Match

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sockbpf.record.event import Direction, Socket
    from sockbpf.record.rule import Prefix, Rule, Who

BITS = {4: 32, 6: 128}


def is_in(address: str, prefix: Prefix) -> bool:
    """Tell whether an address, as text, begins as the prefix does; IPv4 in IPv6 is IPv4."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    shift = BITS[prefix.version] - prefix.length
    return ip.version == prefix.version and int(ip) >> shift == prefix.first >> shift


def _is_one_of(text: str, patterns: Sequence[str]) -> bool:
    """Tell whether one of the patterns fits, or there are none; what is not known fits none, not even `*`."""
    return not patterns or (bool(text) and any(fnmatchcase(text, pattern) for pattern in patterns))


def fits_process(match: Match, process: str) -> bool:
    """Tell whether the condition about the process holds."""
    return _is_one_of(process, match.processes)


def fits_cgroup(match: Match, cgroup: str, home: str = "") -> bool:
    """Tell whether the conditions hold that the path of the cgroup decides; `home` decides unit and container."""
    container = container_of(home or cgroup)
    return (
        _is_one_of(cgroup, match.cgroups)
        and _is_one_of(unit_of(home or cgroup), match.units)
        and (
            _is_one_of(container, match.containers)
            or _is_one_of(shown_container(container), match.containers)
        )
    )


def asks_who(match: Match) -> bool:
    """Tell whether a condition asks whose the socket is: only user space can say."""
    return bool(match.processes or match.cgroups or match.units or match.containers)


def fits_socket(
    match: Match, socket: Socket, kind: str, names: Callable[[int], Sequence[str] | None]
) -> bool:
    """Tell whether all conditions hold that the socket itself decides; `kind` is SEND, RECV or ACCEPT.

    `names` returns the names of a network namespace.
    """
    return (
        (not match.protocols or socket.protocol in match.protocols)
        and (not match.types or kind in match.types)
        and (match.listener is None or match.listener == (kind == "ACCEPT"))
        and _is_within(socket.local_port, match.local_ports)
        and _is_within(socket.remote_port, match.remote_ports)
        and (not match.users or socket.uid in match.users)
        and (not match.local_ips or any(is_in(socket.local_ip, each) for each in match.local_ips))
        and (not match.remote_ips or any(is_in(socket.remote_ip, each) for each in match.remote_ips))
        and (
            not match.netns
            or socket.netns in match.netns
            or any(name in match.netns for name in names(socket.netns) or ())
        )
    )


def _is_within(port: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return not ranges or any(first <= port <= last for first, last in ranges)


def unmet(
    match: Match,
    socket: Socket,
    kind: str,
    who: Who,
    names: Callable[[int], Sequence[str] | None],
) -> list[str]:
    """Return the keys of the conditions that do not hold; empty where the rule matches."""
    container = container_of(who.cgroup)
    of_container = (container, shown_container(container))
    holds = {
        "protocol": fits_socket(Match(protocols=match.protocols), socket, kind, names),
        "type": fits_socket(Match(types=match.types), socket, kind, names),
        "listener": fits_socket(Match(listener=match.listener), socket, kind, names),
        "local_port": _is_within(socket.local_port, match.local_ports),
        "remote_port": _is_within(socket.remote_port, match.remote_ports),
        "local_ip": fits_socket(Match(local_ips=match.local_ips), socket, kind, names),
        "remote_ip": fits_socket(Match(remote_ips=match.remote_ips), socket, kind, names),
        "user": fits_socket(Match(users=match.users), socket, kind, names),
        "netns": fits_socket(Match(netns=match.netns), socket, kind, names),
        "process": fits_process(match, who.process),
        "unit": _is_one_of(unit_of(who.cgroup), match.units),
        "container": any(_is_one_of(each, match.containers) for each in of_container),
        "cgroup": _is_one_of(who.cgroup, match.cgroups),
    }
    return [key for key, it_holds in holds.items() if not it_holds]


def first_match(
    rules: Sequence[Rule],
    socket: Socket,
    direction: Direction,
    who_of: Callable[[Socket], Who],
    names: Callable[[int], Sequence[str] | None] = lambda _: (),
) -> int | None:
    """Return the place of the rule that applies to this queue, from 0; None if none does.

    `who_of` is asked once at most, and only if a rule needs it.
    """
    who: Who | None = None
    for place, rule in enumerate(rules):
        match = rule.match
        if not fits_socket(match, socket, direction.name, names):
            continue
        if asks_who(match):
            who = who or who_of(socket)
            if not fits_process(match, who.process) or not fits_cgroup(match, who.cgroup):
                continue
        return place
    return None
