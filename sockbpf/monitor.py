"""The monitor: put together from its parts, and the loop that moves what is seen to what is told."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.alert import Notice, alert_of, log_line
from sockbpf.arming import arm, log_sight, need_root
from sockbpf.counters import LOSSES, Counters
from sockbpf.delivery.http_get import HttpGet
from sockbpf.delivery.spool import Spool
from sockbpf.delivery.worker import Workers
from sockbpf.errors import UnsupportedError
from sockbpf.event import Direction, Event, Protocol, What
from sockbpf.kernel.owner import Owners
from sockbpf.kernel.probes import Levels
from sockbpf.kernel.sweep import Sweeper, SweepThread, Wanted, own_inodes
from sockbpf.policy import Episode, Policy, Rules
from sockbpf.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.config import Config
    from sockbpf.kernel.probes import Probes

log = logging.getLogger(__name__)

SWEEP_SHARE = 20
"""Sweeps may take one part in this many of the time."""

DEMAND_KEPT_S = 60
"""How long the hot hooks for UDP send queues stay attached after the last such episode."""

IDLE_S = 60
"""How long the loop may sleep when nothing is due."""

SWITCH_S = 0.0005
"""How long one thread may keep the others waiting: the default, 5 ms, is what a request would be late."""

FLUSH_S = 3
"""How long the workers may still deliver after the monitor was told to stop."""


def rules_of(config: Config) -> Rules:
    """Return the policy's rules as the configuration gives them."""
    return Rules(
        thresholds={Direction.SEND: config.thresholds.send, Direction.RECV: config.thresholds.recv},
        clear_ratio=config.clear_ratio,
        repeat_ns=int(config.repeat * 1e9),
        events=frozenset(config.events),
    )


def is_udp_send(queue: Event | Episode) -> bool:
    """Tell a UDP socket's send queue, the one that needs the hot hooks to be seen draining."""
    return queue.socket.protocol is Protocol.UDP and queue.direction is Direction.SEND


class Monitor:
    """Everything that runs; `run` returns when it was stopped, `stop` may be called from a signal handler."""

    def __init__(self, config: Config, service: Service) -> None:
        """Load and attach.

        Where the kernel cannot, the reason is logged and sweeps alone do the work.
        """
        self._config = config
        self._service = service
        self._counters = Counters()
        self._host = socket.gethostname()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        salt = f"{boot} {os.getpid()} {time.time_ns()}"
        self._policy = Policy(rules_of(config), self._counters, salt, Owners().owner)
        self._seq = 0
        self._stopping = False
        self._showing = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._blind = True
        """Whether there is something that sweeps alone can see."""
        self._probes = self._arm()
        self._spool = Spool(config.delivery.workers, config.delivery.queue, self._counters)
        self._workers = Workers(
            self._spool,
            lambda: HttpGet(config.url, config.delivery.timeout),
            retry_first_s=config.delivery.retry_first,
            retry_max_s=config.delivery.retry_max,
            counters=self._counters,
        )
        self._workers.start()
        self._sweeps = SweepThread(Sweeper(self._counters), self.wake)
        self._next_sweep_s = self._next_look_s = self._rested_s = time.monotonic()
        self._udp_send_s = 0.0
        self._losses: dict[str, int] = {}

    def _arm(self) -> Probes | None:
        rules = self._policy.rules
        levels = Levels(
            send=rules.thresholds[Direction.SEND],
            recv=rules.thresholds[Direction.RECV],
            clear_ratio=rules.clear_ratio,
            own_pid=os.getpid(),
        )
        try:
            probes = arm(self._config, levels, self._counters)
        except UnsupportedError as reason:
            log.warning("no hooks: %s", reason)
            log.warning("polling sock_diag every %g s instead, mode=poll", self._config.sweep.poll)
            return None
        for sight in probes.sights:
            log_sight(sight)
        self._blind = any(sight.candidate is None for sight in probes.sights)
        for descriptor in probes.fds():
            self._epoll.register(descriptor, select.EPOLLIN)
        return probes

    def wake(self) -> None:
        """Make the loop go round now; from any thread or signal handler."""
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping = True
        self.wake()

    def show(self) -> None:
        """Have all counters logged; from a signal handler too, which may not take their lock itself."""
        self._showing = True
        self.wake()

    def run(self, on_armed: Callable[[], None]) -> None:
        """Watch until stopped; `on_armed` is called once every hook is armed and the first sweep is done."""
        armed = False
        while not self._stopping:
            self._epoll.poll(self._pause_s())
            self._drain_wake()
            self._read()
            if self._take_sweep() and not armed:
                armed = True
                log.info("armed: thresholds send %d, recv %d bytes", *self._policy.rules.thresholds.values())
                on_armed()
                self._service.ready("watching by hooks" if self._probes else "watching by polling, mode=poll")
            self._look()
            self._service.alive()
            if self._showing:
                self._showing = False
                self._count_kernel()
                log.info("counters: %s", self._counts())

    def _pause_s(self) -> float:
        due = min(time.monotonic() + IDLE_S, self._service.due_s)
        if not self._sweeps.busy:  # else its end wakes us
            due = min(due, self._next_sweep_s)
        if self._policy.open or self._udp_send_s:
            due = min(due, self._next_look_s)
        return max(due - time.monotonic(), 0.0)

    def _drain_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return

    def _read(self) -> None:
        if self._probes is None:
            return
        for event in self._probes.read():
            if event.what is What.OVER and is_udp_send(event):
                self._demand(self._probes)
            self._tell(self._policy.on_event(event))

    def _demand(self, probes: Probes) -> None:
        if not self._udp_send_s:
            probes.demand(wanted=True)
            self._next_look_s = time.monotonic()  # it may have drained while they were being attached
        self._udp_send_s = time.monotonic()

    def _take_sweep(self) -> bool:
        sweep = self._sweeps.take()
        if sweep is None:
            return False
        self._take_table()
        # Those of ours that came and went while the sweep was under way.
        own = self._probes.own_inodes() if self._probes else frozenset()
        readings = tuple(reading for reading in sweep.readings if reading.socket.inode not in own)
        self._tell(self._policy.on_sweep(replace(sweep, readings=readings), self._reap))
        cost_s = (sweep.ended_ns - sweep.begun_ns) / 1e9
        self._rested_s = time.monotonic() + cost_s * SWEEP_SHARE
        self._next_sweep_s = max(self._next_sweep_s, self._rested_s)
        return True

    def _take_table(self) -> None:
        """Take the kernel's table; what was read before it can only be older than it."""
        if self._probes:
            self._read()
            self._tell(self._policy.on_table(self._probes.open_episodes()))

    def _reap(self, address: int, direction: Direction) -> bool:
        return self._probes is not None and self._probes.reap(address, direction)

    def _look(self) -> None:
        """Do what is due: repeat alerts, ask for a sweep, show losses."""
        now_s = time.monotonic()
        if now_s >= self._next_sweep_s:
            self._ask(everywhere=True)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + self._config.sweep.recheck
            self._take_table()
            self._rest_demanded(now_s)
            self._tell(self._policy.on_time(time.monotonic_ns()))
            self._show_losses()
            if now_s >= self._rested_s:
                self._ask(everywhere=False)

    def _rest_demanded(self, now_s: float) -> None:
        """Detach the hot hooks when no UDP send queue has been over for a while."""
        if self._probes is None or not self._udp_send_s:
            return
        if any(is_udp_send(episode) for episode in self._policy.open.values()):
            self._udp_send_s = now_s
        elif now_s - self._udp_send_s > DEMAND_KEPT_S:
            self._udp_send_s = 0.0
            self._probes.demand(wanted=False)

    def _ask(self, *, everywhere: bool) -> None:
        if self._sweeps.busy or not (everywhere or self._policy.open):
            return
        sockets = [episode.socket for episode in self._policy.open.values()]
        inodes = frozenset(s.inode for s in sockets if s.inode)
        if everywhere:
            timing = self._config.sweep
            self._next_sweep_s = time.monotonic() + (timing.poll if self._blind else timing.interval)
        if self._probes:
            self._probes.forget_own(own_inodes())
        self._policy.sweep_begins()
        self._sweeps.ask(Wanted(None if everywhere else frozenset(s.netns for s in sockets), inodes))

    def _tell(self, notices: list[Notice]) -> None:
        offset_ns = time.time_ns() - time.monotonic_ns()
        for notice in notices:
            self._seq += 1
            alert = alert_of(notice, seq=self._seq, host=self._host, unix_offset_ns=offset_ns)
            self._counters.add("alerts")
            self._spool.offer(alert)
            log.info("%s", log_line(alert))

    def _show_losses(self) -> None:
        self._count_kernel()
        counts = self._counters.snapshot()
        losses = {name: counts[name] for name in LOSSES if counts[name]}
        if losses != self._losses:
            if losses.get("unreturned") != self._losses.get("unreturned"):
                self._next_sweep_s = time.monotonic()  # a sweep sees what was not judged
            self._losses = losses
            log.warning("lost: %s", " ".join(f"{name}={count}" for name, count in losses.items()))

    def _count_kernel(self) -> None:
        if self._probes:
            tally = self._probes.tally()
            self._counters.set("lost_submit", tally.lost)
            self._counters.set("episodes_full", tally.full)
            self._counters.set("own", tally.own)
            self._counters.set("unreturned", tally.unreturned)

    def close(self) -> None:
        """Stop looking, deliver what can be delivered in a moment, say what is still owed, and show the counters."""
        self._sweeps.stop()
        if self._probes:
            self._count_kernel()
            self._probes.close()
        owed = self._workers.stop(FLUSH_S)
        log.info("stopped, %d alerts owed; %s", owed, self._counts())

    def _counts(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self._counters.snapshot().items())


def watch(config: Config, ready_file: Path | None) -> int:
    """Run the monitor until SIGTERM (return 0) or SIGINT (return 130)."""
    need_root()
    if ready_file:
        ready_file.unlink(missing_ok=True)
    monitor: Monitor | None = None
    code = 0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal code
        code = 130 if number == signal.SIGINT else 0
        if monitor is None:  # still loading: nothing is attached that the kernel does not detach with us
            raise SystemExit(code)
        monitor.stop()

    def on_show(*_: object) -> None:
        if monitor is not None:
            monitor.show()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGUSR1, on_show)
    sys.setswitchinterval(SWITCH_S)
    service = Service()
    monitor = Monitor(config, service)
    try:
        monitor.run(lambda: ready_file.touch() if ready_file else None)
    finally:
        service.stopping()
        monitor.close()
        if ready_file:
            ready_file.unlink(missing_ok=True)
    return code
