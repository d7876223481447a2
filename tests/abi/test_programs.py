# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Programs and hooks agree, and this kernel's verifier takes every program, the ones it cannot attach too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.attachments import Attachments
from sockbpf.kernel.attach.loading import Loaded, load
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.build.btf import Btf
from sockbpf.kernel.build.bytecode import CALL, INSTRUCTION, Bytecode, MapKind, Program
from sockbpf.kernel.build.choice import HOOKS
from sockbpf.kernel.build.hooks import SEEN, Candidate, Hook, HookKind
from sockbpf.kernel.build.order import LOOK_AT_QUEUE, Matching
from sockbpf.kernel.build.shortcuts import CAST, OF_KERNEL_FUNCTION, Shortcut, taken_by
from sockbpf.kernel.build.source import BTF
from sockbpf.settings.config import Config
from tests.abi.everything import Everything, every_program
from tests.abi.programs import PROGRAMS, SWITCHES

THRESHOLD = 2**32 - 1

MOST_INSTRUCTIONS = 4096
"""What kernels before 5.2 accept; they take neither direct values nor rules."""


READ_NO_QUEUE = {
    "tp_tcp_destroy_sock", "kp_tcp_set_state", "kp_sk_common_release", "kp_inet_sock_destruct",
    "kp_udp_sendmsg", "kp_udpv6_sendmsg",
}  # fmt: skip

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")


@pytest.fixture(scope="module", params=SWITCHES)
def switch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def everything(switch: str) -> Iterator[Everything]:
    # A kernel that takes no direct values, before 5.2, matches no rules.
    matching = Matching.BY_ANSWERS if switch == "plain" else Matching.IN_KERNEL
    with every_program(SWITCHES[switch], matching=matching) as made:
        yield made


def test_every_hook_names_a_program() -> None:
    assert {hook.program for hook in HOOKS} <= set(PROGRAMS)


def test_every_program_is_named_by_a_hook() -> None:
    assert set(PROGRAMS) <= {hook.program for hook in HOOKS}


@pytest.mark.parametrize("hook", sorted(HOOKS, key=str), ids=str)
def test_a_program_is_attached_as_it_was_written(hook: Hook) -> None:
    assert hook.kind in PROGRAMS[hook.program]


@pytest.mark.parametrize("name", [p for p, kinds in PROGRAMS.items() if HookKind.KPROBE in kinds])
def test_a_return_probe_has_a_program_of_its_own(name: str) -> None:
    """At a return the arguments' registers hold something else."""
    assert len({hook.kind for hook in HOOKS if hook.program == name}) == 1


@pytest.mark.parametrize("thing", SEEN)
def test_what_the_last_resort_misses_is_said(thing: str) -> None:
    *_, last = SEEN[thing]
    assert last.hooks or last.unseen


@needs_root
def test_nothing_else_is_compiled(everything: Everything) -> None:
    from bcc import lib

    module = everything.bpf.module
    compiled = {lib.bpf_function_name(module, i).decode() for i in range(lib.bpf_num_functions(module))}
    assert compiled == {*PROGRAMS, LOOK_AT_QUEUE}


@needs_root
def test_the_verifier_takes_the_look_at_a_queue(everything: Everything) -> None:
    assert LOOK_AT_QUEUE not in everything.loaded.refused, everything.loaded.refused[LOOK_AT_QUEUE]


@needs_root
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_verifier_takes_a_program(everything: Everything, name: str) -> None:
    assert name not in everything.loaded.refused, everything.loaded.refused[name]
    assert everything.loaded.programs[name] > 0


@needs_root
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("switch", ["plain"], indirect=True)
def test_a_program_is_short_enough_for_old_kernels(everything: Everything, name: str) -> None:
    from bcc import lib

    instructions = lib.bpf_function_size(everything.bpf.module, name.encode()) // 8
    assert 0 < instructions <= MOST_INSTRUCTIONS


def calls(code: bytes) -> list[tuple[int, int]]:
    """Return where an instruction calls a function of the kernel, bytes, and which, by its id."""
    return [
        (at * INSTRUCTION.size, number)
        for at, (operation, registers, _, number) in enumerate(INSTRUCTION.iter_unpack(code))
        if operation == CALL and registers >> 4 == OF_KERNEL_FUNCTION
    ]


@pytest.fixture
def cast() -> int:
    """Return the id of the function that casts; a kernel before 6.2 has none."""
    number = Btf.of(BTF).function(CAST) if BTF.exists() else 0
    if not number:
        pytest.skip("this kernel cannot cast")
    return number


@needs_root
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - READ_NO_QUEUE))
def test_queues_are_read_without_a_call_where_the_kernel_can_cast(
    everything: Everything, switch: str, name: str, cast: int
) -> None:
    """The cast is none: the kernel makes a move of it."""
    called = {number for _, number in calls(everything.bytecode.programs[name].code)}
    assert called == ({cast} if Shortcut.CASTS in SWITCHES[switch] else set())


@needs_root
def test_programs_take_the_shortcuts_that_are_turned_on_and_no_others(
    everything: Everything, switch: str, cast: int
) -> None:
    assert taken_by(everything.bytecode) == SWITCHES[switch]


@needs_root
def test_a_kernel_that_refuses_casts_gets_programs_without_and_keeps_direct_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cast: int
) -> None:
    refused: list[str] = []
    taken: list[frozenset[Shortcut]] = []

    def load_spoiled(bytecode: Bytecode) -> Loaded:
        """Have another function called, which the kernel refuses."""
        programs = {}
        for name, program in bytecode.programs.items():
            code = bytearray(program.code)
            for at, number in calls(program.code):
                INSTRUCTION.pack_into(code, at, CALL, OF_KERNEL_FUNCTION << 4, 0, number + 1)
            programs[name] = replace(program, code=bytes(code))
        loaded = load(replace(bytecode, programs=programs))
        refused.extend(loaded.refused)
        taken.append(taken_by(bytecode))
        return loaded

    monkeypatch.setattr("sockbpf.kernel.attach.arm.load", load_spoiled)
    before = len(os.listdir("/proc/self/fd"))
    config = Config(url="http://127.0.0.1:9/")
    probes = arm(config, KernelLevels(2 * (THRESHOLD,), clear=2 * (THRESHOLD,)), Counters())
    assert refused
    assert f"the kernel refuses shortcuts (casts): {refused[0]}: " in caplog.text
    trial, _of_rules, *tries = taken
    assert trial == {Shortcut.DIRECT_VALUES}
    assert tries[:2] == [set(Shortcut), {Shortcut.DIRECT_VALUES}]
    assert not any(reason for sight in probes.sights for reason in sight.refused if "tp_" in reason)
    probes.close()
    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_a_kernel_that_refuses_rules_gets_programs_without_and_keeps_the_shortcuts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[frozenset[Shortcut]] = []
    returns_nothing = INSTRUCTION.pack(0x95, 0, 0, 0)

    def load_spoiled(bytecode: Bytecode) -> Loaded:
        taken.append(taken_by(bytecode))
        if "decisions" not in bytecode.maps:
            return load(bytecode)
        spoiled = {
            name: replace(each, code=returns_nothing, maps=()) for name, each in bytecode.programs.items()
        }
        return load(replace(bytecode, programs=spoiled))

    monkeypatch.setattr("sockbpf.kernel.attach.arm.load", load_spoiled)
    config = Config(url="http://127.0.0.1:9/")
    probes = arm(config, KernelLevels(2 * (THRESHOLD,), clear=2 * (THRESHOLD,)), Counters())
    try:
        assert "the kernel refuses programs that match rules, user space does: " in caplog.text
        assert "no rules can be had here, the kernel refuses programs that judge by them: " in caplog.text
        assert probes.tables.rules is None
        assert taken[-1] == set(Shortcut)
    finally:
        probes.close()


@needs_root
def test_a_program_that_cannot_be_loaded_is_a_hook_that_is_refused(everything: Everything) -> None:
    spoiled = Program("raw tracepoint", INSTRUCTION.pack(0x95, 0, 0, 0), ())  # returns nothing
    programs = everything.bytecode.programs | {"tp_probe": spoiled}
    loaded = load(replace(everything.bytecode, programs=programs))
    try:
        assert set(loaded.refused) == {"tp_probe"}
        assert "R0 !read_ok" in loaded.refused["tp_probe"]
        hook = Hook(HookKind.TRACEPOINT, "sk_data_ready", "tp_probe")
        attachments = Attachments(loaded.programs, loaded.refused)
        assert attachments.attach([hook]) == {
            hook: f"raw tracepoint sk_data_ready: {loaded.refused['tp_probe']}"
        }
        assert hook not in attachments
    finally:
        loaded.close()


@needs_root
def test_a_table_that_cannot_be_made_leaves_nothing_open(everything: Everything) -> None:
    maps = everything.bytecode.maps | {"nothing": MapKind(1, 0, 0, 0, 0)}
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnsupportedError, match="the kernel refuses the table nothing: "):
        load(replace(everything.bytecode, maps=maps))
    assert os.listdir("/proc/self/fd") == before


@needs_root
def test_what_the_kernel_refuses_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up it seemed to be there; attaching is what counts."""
    absent = Candidate((Hook(HookKind.TRACEPOINT, "no_such_tracepoint", "tp_sk_data_ready"),))
    monkeypatch.setitem(SEEN, "TCP receive grows", (absent, *SEEN["TCP receive grows"]))
    config = Config(url="http://127.0.0.1:9/")
    probes = arm(config, KernelLevels(2 * (THRESHOLD,), clear=2 * (THRESHOLD,)), Counters())
    try:
        sight = next(sight for sight in probes.sights if sight.thing == "TCP receive grows")
        assert sight.candidate in SEEN["TCP receive grows"][1:]
        assert "no_such_tracepoint" in sight.refused[0]
    finally:
        probes.close()
