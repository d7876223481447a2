"""Programs and hooks agree, and this kernel's verifier takes every program, the ones it cannot attach too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.hooks import KPROBES, SEEN, TRACEPOINTS, Hook, Kind
from sockbpf.kernel.probes import Probes

BPF = Path(__file__).parents[2] / "bpf"
MOST_INSTRUCTIONS = 4096
"""What kernels before 5.2 accept."""

KINDS = {"TRACEPOINT": {Kind.TRACEPOINT}, "KPROBE": {Kind.KPROBE, Kind.KRETPROBE}}
PROGRAMS = {
    name: KINDS[macro]
    for file in ("tracepoints.h", "kprobes.h")
    for macro, name in re.findall(r"^(TRACEPOINT|KPROBE)\((\w+)\)$", (BPF / file).read_text(), re.MULTILINE)
}
"""Each program of bpf/ and how it may be attached."""

HOOKS = {hook for row in SEEN.values() for candidate in row for hook in candidate.hooks}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")


@pytest.fixture(scope="module")
def probes() -> Iterator[Probes]:
    made = Probes(
        kinds=TRACEPOINTS | KPROBES, types="auto", perf_pages=8, max_episodes=17, counters=Counters()
    )
    yield made
    made.close()


def test_every_hook_names_a_program() -> None:
    assert {hook.program for hook in HOOKS} <= set(PROGRAMS)


def test_every_program_is_named_by_a_hook() -> None:
    assert set(PROGRAMS) <= {hook.program for hook in HOOKS}


@pytest.mark.parametrize("hook", sorted(HOOKS, key=str), ids=str)
def test_a_program_is_attached_as_it_was_written(hook: Hook) -> None:
    assert hook.kind in PROGRAMS[hook.program]


@pytest.mark.parametrize("name", [p for p, kinds in PROGRAMS.items() if Kind.KPROBE in kinds])
def test_a_return_probe_has_a_program_of_its_own(name: str) -> None:
    """At a return the arguments' registers hold something else."""
    assert len({hook.kind for hook in HOOKS if hook.program == name}) == 1


@pytest.mark.parametrize("thing", SEEN)
def test_what_the_last_resort_misses_is_said(thing: str) -> None:
    *_, last = SEEN[thing]
    assert last.hooks or last.unseen


@needs_root
def test_nothing_else_is_compiled(probes: Probes) -> None:
    lib, module = probes._lib, probes._bpf.module
    compiled = {lib.bpf_function_name(module, i).decode() for i in range(lib.bpf_num_functions(module))}
    assert compiled == set(PROGRAMS)


@needs_root
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_verifier_takes_a_program(probes: Probes, name: str) -> None:
    bpf = probes._bpf
    kind = bpf.RAW_TRACEPOINT if Kind.TRACEPOINT in PROGRAMS[name] else bpf.KPROBE
    assert bpf.load_func(name.encode(), kind).fd > 0


@needs_root
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_short_enough_for_old_kernels(probes: Probes, name: str) -> None:
    instructions = probes._lib.bpf_function_size(probes._bpf.module, name.encode()) // 8
    assert 0 < instructions <= MOST_INSTRUCTIONS
