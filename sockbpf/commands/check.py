# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf check`: what this kernel can do, shown on real sockets, and what is missing with the remedy."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sockbpf.counters import Counters
from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.arm import arm, need_root
from sockbpf.kernel.attach.legacy import what_costs, what_is_left_out
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.look.buffers import buffers, out_of_reach
from sockbpf.kernel.look.choice import Choice
from sockbpf.monitor.explaining import matched_now
from sockbpf.monitor.rates import unknown_counters
from sockbpf.monitor.rehearsal import rehearse
from sockbpf.monitor.rules import no_rules
from sockbpf.monitor.terms import thresholds_of
from sockbpf.record.event import Direction, Event, What

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sockbpf.kernel.attach.probes import Probes
    from sockbpf.kernel.build.choice import Sight
    from sockbpf.settings.config import Config

THRESHOLD = 20_011
FILL = 30_011
"""Bytes the self-test leaves unread: a prime number that no other socket of the host has by accident."""

DATAGRAM, DATAGRAMS = 1009, 31
WAIT_S = 5.0

REMEDY = {
    True: "until that is mended, `kernel: {hooks: none}` in the configuration polls instead",
    False: "`kernel: {hooks: auto}` in the configuration takes all that this kernel has",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One part of the self-test, and what came of it."""

    name: str
    thing: str
    """What the hooks had to see when the trial ended: a name of SEEN in kernel/build/hooks.py."""

    passed: bool
    report: str


def check(config: Config) -> int:
    """Load the programs, attach them, try them on loopback sockets, and report.

    Return 0 when every trial passed. Raise UnsupportedError when nothing can load or a trial failed.
    """
    need_root()
    rehearse(config)
    out = Console()
    begun = time.monotonic()
    levels = KernelLevels(2 * (THRESHOLD,), clear=2 * (THRESHOLD // 2,))
    with (
        closing(Choice(config.kernel.look, config.kernel.types)) as choice,
        closing(arm(config, levels, Counters())) as probes,
    ):
        probes.demand(wanted=True)
        sights, judges_by_rules = probes.sights, bool(probes.tables.rules)
        with closing(choice.take(Counters())) as look:
            way = look.name
            matched = matched_now(config, look) if config.rules else {}
        armed_s = time.monotonic() - begun
        _report(out, sights)
        out.print(f"kernel {os.uname().release}, types from {probes.types}, armed in {armed_s:.2f} s")
        why = f": {escape(choice.reason)}" if choice.reason else ""
        out.print(f"all sockets are looked at by {way}{why}", soft_wrap=True)
        seen_by = {sight.thing: str(sight) for sight in sights}
        failed = False
        for trial in (_tcp_receive, _tcp_send, _udp_receive):
            result = trial(probes)
            failed |= not result.passed
            mark = "[green]ok[/]" if result.passed else f"[red]FAILED[/] {escape(seen_by[result.thing])}:"
            out.print(f"self-test {result.name}: {mark} {escape(result.report)}", soft_wrap=True)
    blind = [sight.thing for sight in sights if sight.candidate is None]
    if blind:
        out.print(f"[yellow]not seen by any hook, left to the sweeps:[/] {', '.join(blind)}")
    unreached = "\n".join(out_of_reach(thresholds_of(config), buffers()))
    for mark, text in (
        ("costs more", what_costs()),
        ("left out", what_is_left_out()),
        ("no alerts", unreached),
        ("no alerts", "\n".join(unknown_counters(config))),
    ):
        if text:
            out.print(f"[yellow]{mark}:[/] {escape(text)}", soft_wrap=True)
    if config.rules:
        _report_rules(out, matched)
        if not judges_by_rules:
            raise UnsupportedError(no_rules([str(rule.name) for rule in config.rules]))
    if failed:
        raise UnsupportedError(
            "the probes do not report what the self-test did; " + REMEDY[config.kernel.hooks == "auto"]
        )
    out.print("[green]ready[/]")
    return 0


def _report(out: Console, sights: Collection[Sight]) -> None:
    table = Table(
        "seen", "by", "left unseen by it", title="What this kernel lets us see", title_justify="left"
    )
    for sight in sights:
        if sight.candidate is None:
            table.add_row(sight.thing, "[yellow]nothing[/]", escape("; ".join(sight.refused)))
        else:
            hooks = "\n".join(str(hook) for hook in sight.candidate.hooks) or "sweeps"
            table.add_row(sight.thing, hooks, sight.candidate.unseen)
    out.print(table)


def _report_rules(out: Console, matched: Mapping[str, int]) -> None:
    table = Table("rule", "sockets now", title="Which rule applies", title_justify="left")
    for name, count in matched.items():
        table.add_row(escape(name) or "(none)", str(count))
    out.print(table)


def _await(probes: Probes, wanted: Callable[[Event], bool]) -> Event | None:
    """Return the next event that is wanted, None if none comes within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for event in probes.read():
            if wanted(event):
                return event
    return None


def _episode(
    probes: Probes, name: str, sock: socket.socket, direction: Direction, expected: int | None
) -> Trial:
    """Expect that the queue of `sock` is reported as over, with `expected` bytes if the size is known."""
    inode = os.fstat(sock.fileno()).st_ino
    over = _await(
        probes, lambda e: e.what is What.OVER and e.socket.inode == inode and e.direction is direction
    )
    if over is None:
        return Trial(name, f"{name} grows", passed=False, report="no event")
    size = over.size if expected is None else _settled(probes, over, expected)
    if expected is not None and size != expected:
        return Trial(
            name, f"{name} grows", passed=False, report=f"reported {size} bytes, expected {expected}"
        )
    return Trial(name, f"{name} grows", passed=True, report=f"{size} bytes reported")


def _settled(probes: Probes, over: Event, expected: int) -> int:
    """Return the episode's size once it is as expected, or what it is after WAIT_S.

    Loopback may deliver one write in several segments (4.4, 4.15): the crossing is reported at the first
    segment that is over.
    """
    size, deadline = over.size, time.monotonic() + WAIT_S
    while size != expected and time.monotonic() < deadline:
        for event in probes.tables.open_episodes():
            if (event.address, event.direction) == (over.address, over.direction):
                size = event.size
    return size


def _ended(probes: Probes, trial: Trial, sock: socket.socket, direction: Direction) -> Trial:
    inode = os.fstat(sock.fileno()).st_ino
    back = _await(
        probes, lambda e: e.what is What.BACK and e.socket.inode == inode and e.direction is direction
    )
    if back is None:
        return Trial(
            trial.name, f"{trial.name} shrinks", passed=False, report=f"{trial.report}, but not its end"
        )
    return Trial(trial.name, f"{trial.name} shrinks", passed=True, report=f"{trial.report}, and its end")


def _pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    return client, stack.enter_context(listener.accept()[0])


def _tcp_receive(probes: Probes) -> Trial:
    with ExitStack() as stack:
        client, server = _pair(stack)
        client.sendall(bytes(FILL))
        trial = _episode(probes, "TCP receive", server, Direction.RECV, FILL)
        left = FILL
        while left:
            left -= len(server.recv(left))
        return _ended(probes, trial, server, Direction.RECV) if trial.passed else trial


def _tcp_send(probes: Probes) -> Trial:
    """Fill a connection whose peer does not read until the sender would block."""
    with ExitStack() as stack:
        client, server = _pair(stack)
        client.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += client.send(bytes(1 << 16))
        trial = _episode(probes, "TCP send", client, Direction.SEND, None)
        while sent:
            sent -= len(server.recv(1 << 16))
        return _ended(probes, trial, client, Direction.SEND) if trial.passed else trial


def _udp_receive(probes: Probes) -> Trial:
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind(("127.0.0.1", 0))
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for _ in range(DATAGRAMS):
            client.sendto(bytes(DATAGRAM), server.getsockname())
        trial = _episode(probes, "UDP receive", server, Direction.RECV, None)
        for _ in range(DATAGRAMS):
            server.recv(DATAGRAM)
        return _ended(probes, trial, server, Direction.RECV) if trial.passed else trial
