# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A kernel side that cannot match rules goes by what user space answers, of each socket and each of its queues."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from sockbpf.kernel.attach import answers
from sockbpf.kernel.attach.answers import Answers
from sockbpf.kernel.attach.rule_sets import KINDS
from sockbpf.kernel.attach.ruleset import ruleset_of
from sockbpf.kernel.build.order import Matching
from sockbpf.kernel.build.source import BTF
from sockbpf.record.event import OF_BYTES
from sockbpf.record.rule import Match, Rule
from tests.abi.everything import every_program
from tests.abi.layouts import layout, packed
from tests.abi.programs import SWITCHES
from tests.abi.rule_sockets import many_sockets
from tests.abi.ruling import ALL, OTHERWISE, UNSURE, Kernel

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root"),
    pytest.mark.skipif(not BTF.exists(), reason="the sockets are found by the kernel's types"),
]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with ExitStack() as stack:
        placed = stack.enter_context(many_sockets())
        without = every_program(SWITCHES["plain"], matching=Matching.BY_ANSWERS, asked=("rule_of",))
        yield Kernel(stack.enter_context(without), placed)


@pytest.fixture
def given(kernel: Kernel) -> Answers:
    """Return the table of answers, with two rules that are used from now on."""
    tables = kernel.everything.probes.tables
    assert isinstance(tables.rules, Answers)
    kernel.use(2 * [Rule(Match(), OTHERWISE)], {})
    return tables.rules


def test_every_field_lies_where_it_is_read(kernel: Kernel) -> None:
    assert layout(kernel.everything.bpf["answers"].Key) == packed(answers.ANSWER_FIELDS)
    assert kernel.everything.bytecode.maps["answers"].max_entries == answers.MOST


def test_of_each_queue_the_answer_decides_and_without_one_it_is_unsure(
    kernel: Kernel, given: Answers
) -> None:
    compared = 0
    for number, each in enumerate(each for each in kernel.placed if each.socket.inode):
        for direction in OF_BYTES:
            kind = KINDS.index((each.socket.protocol, direction))
            assert kernel.rule_of(each.address, kind) == UNSURE
            given.give(each.socket, direction, (number + direction) % 3)
        for direction in OF_BYTES:
            kind = KINDS.index((each.socket.protocol, direction))
            assert kernel.rule_of(each.address, kind) == (number + direction) % 3
            compared += 1
    print(f"{compared} answers")
    assert compared > 20


def test_an_answer_is_of_one_list_of_rules(kernel: Kernel, given: Answers) -> None:
    one = next(each for each in kernel.placed if each.socket.inode)
    for direction in OF_BYTES:
        given.give(one.socket, direction, 1)
    kind = KINDS.index((one.socket.protocol, OF_BYTES[0]))
    assert kernel.rule_of(one.address, kind) == 1
    made = ruleset_of([Rule(Match(), OTHERWISE)], OTHERWISE, namespaces={})
    number = given.prepare(made)
    assert kernel.rule_of(one.address, kind) == 1
    kernel.everything.probes.tables.set_levels(replace(ALL, gate=made.gate, rules=number))
    assert kernel.rule_of(one.address, kind) == UNSURE


def test_of_more_answers_than_have_room_the_oldest_are_forgotten(
    kernel: Kernel, given: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *others = (each for each in kernel.placed if each.socket.inode)
    direction = OF_BYTES[0]
    kind = KINDS.index((one.socket.protocol, direction))
    given.give(one.socket, direction, 2)
    assert kernel.rule_of(one.address, kind) == 2
    monkeypatch.setattr(answers, "MOST", 3)
    for each in others[:7]:
        given.give(each.socket, direction, 1)
    assert kernel.rule_of(one.address, kind) == UNSURE
    assert kernel.rule_of(others[6].address, KINDS.index((others[6].socket.protocol, direction))) == 1
