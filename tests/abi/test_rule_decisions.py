# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel side decides by rules what the plain reference decides: random lists of rules, real sockets."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from sockbpf.errors import UnsupportedError
from sockbpf.judge.rules import first_match, fits_cgroup, fits_process
from sockbpf.kernel.attach import rule_tables
from sockbpf.kernel.attach.arm import matching_here
from sockbpf.kernel.attach.rule_sets import KINDS
from sockbpf.kernel.attach.rule_tables import RuleTables
from sockbpf.kernel.attach.ruleset import (
    ABOUT_CGROUP,
    ABOUT_INODE,
    ruleset_of,
)
from sockbpf.kernel.build.order import Matching
from sockbpf.kernel.build.source import BTF
from sockbpf.record.event import Direction
from sockbpf.record.rule import Match, Rule, Who
from tests.abi.everything import every_program
from tests.abi.layouts import layout, packed
from tests.abi.rule_lists import CGROUPS, PROCESSES, random_rules
from tests.abi.rule_sockets import Placed, many_sockets
from tests.abi.ruling import ALL, OTHERWISE, UNSURE, Kernel

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root"),
    pytest.mark.skipif(not BTF.exists(), reason="rules need the kernel's types"),
]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    if matching_here() is Matching.BY_ANSWERS:
        pytest.skip("this kernel matches no rules")
    with ExitStack() as stack:
        placed = stack.enter_context(many_sockets())
        everything = stack.enter_context(every_program(asked=("rule_of",)))
        yield Kernel(everything, placed)


@pytest.mark.parametrize(
    ("table", "part", "fields"),
    [
        ("rows", "Leaf", rule_tables.ROW_FIELDS),
        ("port_rows", "Leaf", rule_tables.PORT_ROWS_FIELDS),
        ("prefixes", "Key", rule_tables.PREFIX_FIELDS),
        ("facts", "Key", rule_tables.FACT_FIELDS),
        ("found_out", "Key", rule_tables.FACT_FIELDS),
        ("decisions", "Leaf", rule_tables.DECISION_FIELDS),
    ],
)
def test_every_field_lies_where_it_is_read(
    kernel: Kernel, table: str, part: str, fields: tuple[tuple[str, str], ...]
) -> None:
    assert layout(getattr(kernel.everything.bpf[table], part)) == packed(fields)


def test_the_kernel_decides_what_the_reference_decides(
    kernel: Kernel, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("--rule-lists")
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sockets = [each.socket for each in kernel.placed]
    assert len({each.netns for each in sockets}) == 3
    compared = unsure = matched = 0
    for number_of in range(count):
        rules = random_rules(chance, sockets)
        named = chance.choice(sockets).netns
        kernel.use(rules, {"named": named})
        whose = _find_out(kernel, chance, rules)
        for each in chance.sample(kernel.placed, 5):
            for kind, (protocol, direction) in enumerate(KINDS):
                if protocol is not each.socket.protocol:
                    continue
                said = kernel.rule_of(each.address, kind)
                meant = _meant(rules, each, direction, whose, named)
                wanted = UNSURE if len(meant) > 1 else min(meant)
                assert wanted == said, (
                    rules[min(meant) - 1],
                    rules[said - 1],
                    each,
                    direction,
                    named,
                    number_of,
                )
                compared += 1
                unsure += said == UNSURE
                matched += said > 0
    print(f"{compared} decisions by {count} lists of rules: {matched} by a rule, {unsure} not sure yet")
    assert matched > compared // 10
    assert unsure or not any(each.socket.cgroup for each in kernel.placed)


Whose = dict[tuple[int, int], str]
"""(ABOUT_CGROUP or ABOUT_INODE, number) -> what was found out."""


def _find_out(kernel: Kernel, chance: random.Random, rules: list[Rule]) -> Whose:
    """Find out, by chance, what some cgroups and processes are called."""
    tables = kernel.everything.probes.tables.rules
    assert isinstance(tables, RuleTables)
    whose: Whose = {}
    for each in (placed.socket for placed in kernel.placed):
        for about, value, names in (
            (ABOUT_CGROUP, each.cgroup, CGROUPS), (ABOUT_INODE, each.inode, PROCESSES)
        ):  # fmt: skip
            if not value:
                whose[about, value] = ""
            elif (about, value) not in whose and chance.random() < 0.7:
                whose[about, value] = name = chance.choice(names)
                fits = fits_cgroup if about == ABOUT_CGROUP else fits_process
                holds = sum(1 << place for place, rule in enumerate(rules) if fits(rule.match, name))
                tables.find_out(about, value, holds)
    return whose


def _meant(rules: list[Rule], each: Placed, direction: Direction, whose: Whose, named: int) -> set[int]:
    """Return which rules may apply, by what was found out: with what is not, each condition may hold or not."""
    process = whose.get((ABOUT_INODE, each.socket.inode))
    cgroup = whose.get((ABOUT_CGROUP, each.socket.cgroup))
    may: set[int] = set()
    for place, rule in enumerate(rules, 1):
        match = rule.match
        plain = Match(**{
            name: getattr(match, name)
            for name in ("protocols", "types", "listener", "local_ports", "remote_ports", "local_ips",
                         "remote_ips", "users", "netns")
        })  # fmt: skip
        others = [Rule(plain, rule.decision)]
        if first_match(others, each.socket, direction, lambda _: Who(), {named: ["named"]}.get) is None:
            continue
        asks_process, asks_cgroup = (
            bool(match.processes),
            bool(match.cgroups or match.units or match.containers),
        )
        if asks_process and process is not None and not fits_process(match, process):
            continue
        if asks_cgroup and cgroup is not None and not fits_cgroup(match, cgroup):
            continue
        may.add(place)
        if not (asks_process and process is None) and not (asks_cgroup and cgroup is None):
            return may
    return may | {0}


def test_too_many_different_sets_are_refused() -> None:
    rules = [Rule(Match(local_ports=((port, port),)), OTHERWISE) for port in range(1, 1024)]
    made = ruleset_of(rules, OTHERWISE, namespaces={})
    for number in range(1, 4096 - len(made.rows) + 1):
        made.row(number << 1100)
    with pytest.raises(UnsupportedError, match="tell more than 4096 sets of sockets apart"):
        made.row(1 << 1200)


def test_new_rules_do_not_touch_those_that_apply(kernel: Kernel) -> None:
    """Until the settings choose them: then all that is judged is judged by them."""
    tables = kernel.everything.probes.tables
    assert tables.rules
    every = [Rule(Match(local_ports=((0, 65535),)), OTHERWISE)]
    none = [Rule(Match(users=(4_000_000,)), OTHERWISE), *every]
    (one, *_) = kernel.placed
    kernel.use(every, {})
    assert kernel.rule_of(one.address, KINDS.index((one.socket.protocol, Direction.RECV))) == 1
    for rules, said in ((none, 2), (every, 1), (none, 2)):
        before = kernel.rule_of(one.address, KINDS.index((one.socket.protocol, Direction.RECV)))
        made = ruleset_of(rules, OTHERWISE, namespaces={})
        number = tables.rules.prepare(made)
        assert kernel.rule_of(one.address, KINDS.index((one.socket.protocol, Direction.RECV))) == before
        tables.set_levels(replace(ALL, gate=made.gate, rules=number))
        assert kernel.rule_of(one.address, KINDS.index((one.socket.protocol, Direction.RECV))) == said
