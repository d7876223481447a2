# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Lists of rules by chance, whose conditions are made of what the sockets at hand have, and of what is near it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from sockbpf.record.event import Protocol, Socket
from sockbpf.record.rule import Applied, Decision, Match, Prefix, Rule

PROCESSES = ("rsync", "rsyncd", "nginx", "dnsmasq", "")
PROCESS_PATTERNS = ("rsync*", "nginx", "*", "dns?asq")
CONTAINER = "0123456789ab" * 5 + "0123"
CGROUPS = ("/", "/system.slice/backup.service", "/system.slice/nginx.service", f"/docker/{CONTAINER}", "")
CGROUP_CONDITIONS: dict[str, tuple[str, ...]] = {
    "cgroups": ("/system.slice/*", "*", "/"),
    "units": ("backup*.service", "*.service"),
    "containers": (CONTAINER[:12], "0123*"),
}


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the address, IPv4 in IPv6 as IPv4."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def prefix_near(chance: random.Random, text: str) -> Prefix:
    """Return a prefix that this address, or one like it, lies in."""
    ip = _plain(ip_address(text))
    length = chance.choice([0, 1, 8, 16, 24, 31, 32] if ip.version == 4 else [0, 1, 64, 96, 127, 128])
    if chance.random() < 0.2:
        other = ip_address(
            (int(ip) ^ 1 << chance.randrange(ip.max_prefixlen)).to_bytes(ip.max_prefixlen // 8, "big")
        )
        ip = other if _plain(other) == other else ip
    network = ip_network(f"{ip}/{length}", strict=False)
    return Prefix(network.version, int(network.network_address), length)


def ports_near(chance: random.Random, port: int) -> tuple[int, int]:
    """Return a range with this port at its edge, within it, or just outside."""
    first = chance.choice([port, port, max(port - 7, 0), port + 1 if port < 65535 else port])
    return first, chance.choice([first, min(first + 13, 65535), 65535])


def random_rule(chance: random.Random, sockets: Sequence[Socket], number: int) -> Rule:
    """Return a rule with up to three conditions."""
    one = chance.choice(sockets)
    makers: dict[str, Callable[[], Any]] = {
        "protocols": lambda: chance.choice([(Protocol.TCP,), (Protocol.UDP,), tuple(Protocol)]),
        "types": lambda: chance.choice([("SEND",), ("RECV",), ("ACCEPT",), ("SEND", "RECV")]),
        "listener": lambda: chance.choice([True, False]),
        "local_ports": lambda: (ports_near(chance, one.local_port),) * chance.choice([1, 1, 2]),
        "remote_ports": lambda: (
            ports_near(chance, one.remote_port),
            ports_near(chance, chance.choice(sockets).remote_port),
        ),
        "local_ips": lambda: (prefix_near(chance, one.local_ip),),
        "remote_ips": lambda: (
            prefix_near(chance, one.remote_ip),
            prefix_near(chance, chance.choice(sockets).remote_ip),
        ),
        "processes": lambda: (chance.choice(PROCESS_PATTERNS),),
        "users": lambda: (one.uid,),
        "netns": lambda: (chance.choice([one.netns, "named", "nobody"]),),
        **{
            name: (lambda patterns=patterns: (chance.choice(patterns),))  # type: ignore[misc]
            for name, patterns in CGROUP_CONDITIONS.items()
        },
    }
    names = chance.sample(sorted(makers), chance.choice([1, 1, 2, 3]))
    thresholds = (1000 + chance.randrange(3000), 2000 + chance.randrange(3000))
    decision = Decision(thresholds, thresholds, 0, 60 * 10**9, Applied(f"rule-{number}"))
    return Rule(Match(**{name: makers[name]() for name in names}), decision)


def random_rules(chance: random.Random, sockets: Sequence[Socket]) -> list[Rule]:
    """Return a list of rules: mostly a few, now and then many."""
    count = chance.choice([1, 2, 3, 5, 7, 11, 64, 65, 130, chance.randrange(1, 300)])
    return [random_rule(chance, sockets, number) for number in range(1, count + 1)]
