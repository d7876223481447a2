# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Shortcuts change what programs cost and nothing of what they do: with every choice of them a queue is seen."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach import arm as arming
from sockbpf.kernel.attach.bpf import load_program, open_raw_tracepoint
from sockbpf.kernel.attach.loading import RAW_TRACEPOINT
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.build import cache
from sockbpf.kernel.build.bytecode import INSTRUCTION
from sockbpf.kernel.build.order import Order, order_of
from sockbpf.kernel.build.shortcuts import DIRECT, Shortcut
from sockbpf.record.event import What
from sockbpf.settings.config import Config
from tests.abi.programs import SWITCHES
from tests.live.sockets import drain, inode, tcp_pair

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, UNREAD = 20_011, 30_011
REFUSED = "the kernel refuses shortcuts"


def is_seen() -> bool:
    """Whether a receive queue that crosses, there and back, is told so and counted."""
    config = Config(url="http://127.0.0.1:9/")
    probes = arming.arm(config, KernelLevels((2**32 - 1, THRESHOLD), clear=(0, 0)), Counters())
    probes.demand(wanted=True)
    try:
        with ExitStack() as stack:
            client, server = tcp_pair(stack)
            ours = inode(server)
            client.sendall(bytes(UNREAD))
            drain(server, UNREAD)
            events = [event for event in probes.read() if event.socket.inode == ours]
            tally = probes.tables.tally()
            told = [(event.what, event.threshold) for event in events]
            right = [(What.OVER, THRESHOLD), (What.BACK, THRESHOLD)]
            return told == right and tally.opened >= tally.closed >= 1
    finally:
        probes.close()


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "read", lambda *_: None)
    monkeypatch.setattr(cache, "write", lambda *_: None)


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_queue_is_seen_with_every_choice_of_shortcuts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, switch: str
) -> None:
    monkeypatch.setattr(arming, "shortcuts_here", lambda: SWITCHES[switch])
    assert is_seen()
    assert REFUSED not in caplog.text


@pytest.mark.usefixtures("nothing_kept")
def test_swapped_numbers_of_maps_do_not_pass(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The canary: settings and counts are read and written as each other's; where they fit, programs even load."""
    swapped = {"settings": DIRECT["tally"], "tally": DIRECT["settings"]}

    def swapping(*arguments: object, **named: object) -> Order:
        order = order_of(*arguments, **named)  # type: ignore[arg-type]
        kept = [flag for flag in order.flags if not flag.startswith("-DDIRECT_")]
        return replace(order, flags=(*kept, *(f"-DDIRECT_{name}={n}" for name, n in swapped.items())))

    monkeypatch.setattr(arming, "order_of", swapping)
    monkeypatch.setattr(arming, "shortcuts_here", lambda: frozenset({Shortcut.DIRECT_VALUES}))
    assert not is_seen() or REFUSED in caplog.text


def test_what_this_kernel_takes_is_found_by_trying() -> None:
    assert Shortcut.DIRECT_VALUES in arming.shortcuts_here()


def test_a_refusal_is_told_in_the_words_of_the_verifier_and_stderr_stays_quiet(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Of a program with a log that does not fit the first room for it: its last words, which say why."""
    before = os.stat("/proc/self/fd/2"), os.listdir("/proc/self/fd")
    longest = INSTRUCTION.pack(0xB7, 2, 0, 3) * 3000 + INSTRUCTION.pack(0x95, 0, 0, 0)  # returns nothing
    for code in (INSTRUCTION.pack(0x95, 0, 0, 0), longest):
        with pytest.raises(OSError, match=r"^Permission denied; .*R0 !read_ok"):
            load_program(RAW_TRACEPOINT, "tp_bad", code, "GPL", 0)
    good = INSTRUCTION.pack(0xB7, 0, 0, 0) + INSTRUCTION.pack(0x95, 0, 0, 0)
    program = load_program(RAW_TRACEPOINT, "a_name_that_is_longer_than_15", good, "GPL", 0)
    try:
        with pytest.raises(OSError, match="No such file"):
            open_raw_tracepoint("no_such_tracepoint", program)
    finally:
        os.close(program)
    assert (os.stat("/proc/self/fd/2"), os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().err == ""
