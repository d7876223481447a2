# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which rule applies: the first whose conditions all hold; what is not said stays; why a rule does not match."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sockbpf.judge.rulebook import Rulebook
from sockbpf.judge.rules import first_match, is_in, unmet
from sockbpf.record.alert import Notice
from sockbpf.record.cgroup import container_of, unit_of
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Severity
from sockbpf.record.rule import Applied, Decision, Match, Prefix, Rule, Who

NETNS = 4026531840
TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "198.51.100.7", 40009, NETNS, 8191, 1009)
CONTAINER = "0123456789ab" * 5 + "0123"
WHO = Who("nginx", f"/system.slice/docker-{CONTAINER}.scope")
OTHERWISE = Decision((1000, 2000), (500, 1000), 0, 60 * 10**9)

FITS: dict[str, tuple[Any, Any]] = {
    "protocols": ((Protocol.TCP,), (Protocol.UDP,)),
    "types": (("SEND", "RECV"), ("SEND", "ACCEPT")),
    "local_ports": (((443, 443),), ((1, 442), (444, 65535))),
    "remote_ports": (((40000, 40100),), ((443, 443),)),
    "local_ips": ((Prefix(4, 192 << 24, 8),), (Prefix(6, 0, 0),)),
    "remote_ips": ((Prefix(4, 0, 0),), (Prefix(4, 10 << 24, 8),)),
    "processes": (("ng*",), ("nginx2", "[!n]*")),
    "users": ((1009, 0), (0,)),
    "units": (("docker-*.scope",), ("docker.service",)),
    "containers": ((CONTAINER[:12],), ("0123456789",)),
    "cgroups": (("/system.slice/*",), ("/user.slice/*",)),
    "netns": ((NETNS, "blue"), ("red", 1)),
}
"""A condition -> values that fit the socket above, and values that do not."""


def place(*matches: Match, socket: Socket = TCP, who: Who = WHO) -> int | None:
    rules = [Rule(match, OTHERWISE) for match in matches]
    return first_match(rules, socket, Direction.RECV, lambda _: who, {NETNS: ["blue"]}.get)


@pytest.mark.parametrize("name", FITS)
def test_each_condition_decides(name: str) -> None:
    fits, other = (Match(**{name: values}) for values in FITS[name])
    assert (place(fits), place(other), place(other, fits)) == (0, None, 1)
    assert unmet(fits, TCP, "RECV", WHO, {NETNS: ["blue"]}.get) == []
    (key,) = unmet(other, TCP, "RECV", WHO, {NETNS: ["blue"]}.get)
    assert name.startswith(key.partition("_")[0])


def test_all_conditions_must_hold() -> None:
    whole = Match(**{name: values[0] for name, values in FITS.items()})
    assert place(whole) == 0
    for name, (_, other) in FITS.items():
        changed: dict[str, Any] = {name: other}
        assert place(replace(whole, **changed)) is None


def test_the_first_that_matches_applies() -> None:
    assert place(Match(users=(0,)), Match(local_ports=((443, 443),)), Match()) == 1


def test_what_is_not_known_fits_no_pattern() -> None:
    for name in ("processes", "units", "containers", "cgroups"):
        anything: dict[str, Any] = {name: ("*",)}
        assert place(Match(**anything), who=Who()) is None


def test_a_listener_is_no_queue_of_bytes() -> None:
    rules = [Rule(Match(listener=True), OTHERWISE)]
    assert first_match(rules, TCP, Direction.RECV, lambda _: WHO) is None
    assert first_match(rules, TCP, Direction.ACCEPT, lambda _: WHO) == 0
    assert place(Match(listener=False)) == 0


@pytest.mark.parametrize(
    ("address", "prefix", "inside"),
    [
        ("10.1.2.3", Prefix(4, 10 << 24, 8), True),
        ("11.1.2.3", Prefix(4, 10 << 24, 8), False),
        ("::ffff:10.1.2.3", Prefix(4, 10 << 24, 8), True),
        ("::ffff:10.1.2.3", Prefix(6, 0, 0), False),
        ("10.1.2.3", Prefix(6, 0, 0), False),
        ("2001:db8::1", Prefix(6, 0x20010DB8 << 96, 32), True),
        ("2001:db9::1", Prefix(6, 0x20010DB8 << 96, 32), False),
        ("::1", Prefix(6, 1, 128), True),
        ("0.0.0.0", Prefix(4, 0, 0), True),
    ],
)
def test_a_prefix(address: str, prefix: Prefix, *, inside: bool) -> None:
    assert is_in(address, prefix) == inside


@pytest.mark.parametrize(
    ("cgroup", "unit", "container"),
    [
        ("/system.slice/nginx.service", "nginx.service", ""),
        ("/user.slice/user-0.slice/user@0.service/app.slice/sh.service", "sh.service", ""),
        (f"/system.slice/docker-{CONTAINER}.scope", f"docker-{CONTAINER}.scope", CONTAINER),
        (f"/docker/{CONTAINER}", "", CONTAINER),
        (f"/kubepods/pod1/cri-containerd-{CONTAINER}.scope", f"cri-containerd-{CONTAINER}.scope", CONTAINER),
        (f"/lxc.payload.db/docker/{CONTAINER}", "", CONTAINER),
        ("/lxc.payload.db/system.slice/mariadb.service", "mariadb.service", "db"),
        ("/lxc/db", "", "db"),
        ("/lxc.payload/db", "", "db"),
        ("/lxc.monitor.db", "", ""),
        ("/machine.slice/machine-web\\x2d1.scope/payload", "machine-web\\x2d1.scope", "web-1"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "machine-qemu\\x2d1\\x2dvm.scope", ""),
        ("/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service", "web"),
        (f"/system.slice/web.service/libpod-payload-{CONTAINER}", "web.service", CONTAINER),
        (f"/machine.slice/libpod-{CONTAINER}.scope/container", f"libpod-{CONTAINER}.scope", CONTAINER),
        ("/", "", ""),
        ("", "", ""),
    ],
)
def test_unit_and_container_are_read_from_the_path(cgroup: str, unit: str, container: str) -> None:
    assert (unit_of(cgroup), container_of(cgroup)) == (unit, container)


def book(*rules: Rule, knows: bool = True) -> tuple[Rulebook, list[Socket]]:
    asked: list[Socket] = []

    def who_of(socket: Socket) -> tuple[Who, bool]:
        asked.append(socket)
        return (WHO if knows else Who()), knows

    return Rulebook(rules, OTHERWISE, who_of, {"blue": NETNS}), asked


LOW = Decision((10, 20), (5, 10), 3, 4, Applied("low", severity="critical"))


def test_levels_are_those_of_the_rule() -> None:
    rules, _ = book(Rule(Match(local_ports=((443, 443),)), LOW))
    levels = rules.levels_of(TCP, Direction.RECV)
    assert (levels.threshold, levels.clear, levels.hold_ns, levels.repeat_ns) == (20, 10, 3, 4)
    assert levels.applied.rule == "low"
    assert rules.levels_of(replace(TCP, local_port=80), Direction.SEND).threshold == 1000
    assert rules.least_over() == (10, 20)


def test_whose_a_socket_is_is_asked_once_if_a_rule_needs_it_and_again_until_it_is_known() -> None:
    rules, asked = book(Rule(Match(users=(0,), processes=("nginx",)), LOW))
    assert rules.place_of(TCP, Direction.RECV) == 0
    assert not asked
    rules, asked = book(Rule(Match(processes=("nginx",)), LOW))
    assert [rules.place_of(TCP, Direction.RECV) for _ in range(3)] == [1, 1, 1]
    assert len(asked) == 1
    rules, asked = book(Rule(Match(processes=("nginx",)), LOW), knows=False)
    assert [rules.place_of(TCP, Direction.RECV) for _ in range(3)] == [0, 0, 0]
    assert len(asked) == 3


def test_an_alert_about_a_listener_has_its_rule_or_is_ignored() -> None:
    notice = Notice("exceeded", "id", 1, 1, TCP, Direction.ACCEPT, Mode.POLL, 3, 3, 2, 0, "")
    rules, _ = book(Rule(Match(listener=True), LOW))
    named = rules.named(notice)
    assert named
    assert (named.applied.rule, named.severity) == ("low", Severity.CRITICAL)
    assert book(Rule(Match(users=(7,)), LOW))[0].named(notice) == notice
    ignoring = replace(LOW, applied=Applied("quiet", ignores=True))
    assert book(Rule(Match(local_ports=((443, 443),)), ignoring))[0].named(notice) is None
