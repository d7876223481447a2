# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor: put together from its parts, and the loop that moves what is seen to what is told."""

from __future__ import annotations

import logging
import math
import os
import select
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.counters import LOSSES
from sockbpf.errors import UnsupportedError
from sockbpf.judge.levels import same_for_all
from sockbpf.judge.policy import Episode, Policy
from sockbpf.judge.telling import Settings, Telling
from sockbpf.kernel.attach.arm import arm, log_sight
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.look.owner import Owners
from sockbpf.kernel.look.sweep import Sweeper, SweepThread, Wanted
from sockbpf.monitor.own import Own
from sockbpf.process import logs
from sockbpf.process.clock import monotonic_ns, monotonic_s
from sockbpf.process.life import ROUND_S, Pulse, late, living, passing, setting_aside
from sockbpf.record.event import Direction, Event, Protocol, What

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.levels import LevelsOf
    from sockbpf.kernel.attach.probes import Probes
    from sockbpf.monitor.dispatch import Dispatch
    from sockbpf.monitor.service import Service
    from sockbpf.monitor.store_child import StoreProcess
    from sockbpf.record.alert import Notice
    from sockbpf.settings.config import Config

log = logging.getLogger(__name__)

SWEEP_SHARE = 20
"""Sweeps may take one part in this many of the time."""

DEMAND_KEPT_S = 60
"""How long the hot hooks for UDP send queues stay attached after the last such episode."""

LOOKS_AFTER = 2
"""So many looks at the open episodes follow the last event."""

TIDY_S = 1
"""How often sockets of the monitor's own that are closed are forgotten, while it delivers."""

IDLE_S = 60
"""How long the loop may sleep when nothing is due."""

FLUSH_S = 3
"""How long what is owed may still be delivered after the monitor was told to stop."""

BUSY_S = 0.1
"""From one look whether the last settings' requests have ended to the next, where too many are under way."""

FIXED = ("journal", "kernel", "metrics", "store")
"""Sections that are read at the start only."""


def levels_of(config: Config) -> LevelsOf:
    """Return what episodes go by, as the configuration says: the same for all sockets."""
    return same_for_all(
        {Direction.SEND: config.thresholds.send, Direction.RECV: config.thresholds.recv},
        clear_ratio=config.clear_ratio,
        hold_ns=int(config.hold * 1e9),
        repeat_ns=int(config.repeat * 1e9),
    )


def settings_of(config: Config) -> Settings:
    """Return what is to be told, and how, as the configuration says."""
    return Settings(
        events=frozenset(config.events),
        repeat_ns=int(config.repeat * 1e9),
        flapping_above=config.flapping.above,
        flapping_window_ns=int(config.flapping.window * 1e9),
        fold_above=config.fold.above,
        fold_window_ns=int(config.fold.window * 1e9),
    )


def kernel_levels_of(config: Config) -> KernelLevels:
    """Return what the kernel side is to compare with."""
    thresholds = config.thresholds
    return KernelLevels(thresholds.send, thresholds.recv, config.clear_ratio, own_pid=os.getpid())


def is_udp_send(queue: Event | Episode) -> bool:
    """Tell a UDP socket's send queue, the one that needs the hot hooks to be seen draining."""
    return queue.socket.protocol is Protocol.UDP and queue.direction is Direction.SEND


def _dispatch() -> type[Dispatch]:
    """Import what delivers: HTTP takes a tenth of a second, which the compiler does not need this process for."""
    from sockbpf.monitor.dispatch import Dispatch

    return Dispatch


class Monitor:
    """Everything that runs; `run` returns when it was stopped, `stop` may be called from a signal handler."""

    def __init__(
        self,
        config: Config,
        counters: Counters,
        service: Service,
        store: StoreProcess,
        reread: Callable[[], Config],
    ) -> None:
        """Load and attach; `reread` returns the settings as they are now written, or raises ConfigError.

        Where the kernel cannot, the reason is logged and sweeps alone do the work.
        """
        self._config = config
        self._reread = reread
        self._service = service
        self._counters = counters
        self._store = store
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        salt = f"{boot} {os.getpid()} {time.time_ns()}"
        self._policy = Policy(levels_of(config), self._counters, salt, Owners().owner)
        self._telling = Telling(settings_of(config), self._counters, self._policy.is_open)
        self._stopping = False
        self._showing = False
        self._reloading = self._waits_said = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._blind = True
        """Whether there is something that sweeps alone can see."""
        self._probes = self._arm()
        self._dispatch = _dispatch()(config, counters, lambda: len(self._policy.open), store.port)
        self._own = Own(self._probes.tables if self._probes else None, self._dispatch.serves)
        self._own_late = 0
        """Crossings of the monitor's own sockets that the kernel side did not know as such."""
        self._next_tidy_s = monotonic_s()
        self._sweeps = SweepThread(Sweeper(self._counters), self.wake)
        self._next_sweep_s = self._next_look_s = self._rested_s = monotonic_s()
        self._next_heartbeat_s = monotonic_s() + config.heartbeat if config.heartbeat else math.inf
        self._udp_send_s = 0.0
        self._heard_s = -math.inf
        """When the hooks last said something: what they leave untold stands in the table."""
        self._losses: dict[str, int] = {}

    def _arm(self) -> Probes | None:
        try:
            probes = arm(self._config, kernel_levels_of(self._config), self._counters, meanwhile=_dispatch)
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

    def reload(self) -> None:
        """Have the settings read again; from a signal handler too."""
        self._reloading = True
        self.wake()

    def run(self, on_armed: Callable[[], None]) -> None:
        """Watch until stopped; `on_armed` is called once every hook is armed and the first sweep is done."""
        pulse = Pulse("main", IDLE_S + ROUND_S)
        with living(pulse):
            self._run(on_armed, pulse)

    def _run(self, on_armed: Callable[[], None], pulse: Pulse) -> None:
        armed = False
        while not self._stopping:
            pulse.beat()
            self._epoll.poll(self._pause_s())
            self._drain_wake()
            woke_ns = monotonic_ns()
            self._read()
            if self._take_sweep() and not armed:
                armed = True
                self._dispatch.flush(FLUSH_S)
                thresholds = self._config.thresholds
                log.info("armed: thresholds send %d, recv %d bytes", thresholds.send, thresholds.recv)
                on_armed()
                self._service.ready("watching by hooks" if self._probes else "watching by polling, mode=poll")
            self._look()
            self._tell_due(woke_ns)
            self._service.alive(lambda: not late())
            if self._reloading and not self._must_wait_for_old():
                self._reloading = False
                self._take_settings()
            if self._showing:
                self._showing = False
                self._count_kernel()
                log.info("counters: %s", self._counts())
        self._read()  # what came since the last look: it happened before the monitor was told to stop

    def _pause_s(self) -> float:
        due = min(monotonic_s() + IDLE_S, self._service.due_s, self._next_heartbeat_s)
        for due_ns in (self._policy.next_due_ns(), self._telling.next_due_ns()):
            if due_ns is not None:
                due = min(due, due_ns / 1e9)
        if not self._sweeps.busy:  # else its end wakes us
            due = min(due, self._next_sweep_s)
        if self._probes and self._dispatch.owes() and not self._sweeps.busy:
            due = min(due, self._next_tidy_s)  # each delivery may take a socket of its own
        is_quiet = monotonic_s() - self._heard_s > LOOKS_AFTER * self._config.sweep.recheck
        if self._policy.open or self._udp_send_s or not is_quiet:
            due = min(due, self._next_look_s)
        if self._reloading:
            due = min(due, monotonic_s() + BUSY_S)
        return max(due - monotonic_s(), 0.0)

    def _drain_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return

    def _read(self) -> None:
        if self._probes is None:
            return
        for event in self._probes.read():
            self._heard_s = monotonic_s()
            if event.socket in self._own:
                self._own_late += self._reap(event.address, event.direction)
                continue
            if event.what is What.OVER and is_udp_send(event):
                self._demand(self._probes)
            with setting_aside(self._counters, event.socket):
                self._tell(self._policy.on_event(event))

    def _demand(self, probes: Probes) -> None:
        if not self._udp_send_s:
            probes.demand(wanted=True)
            self._next_look_s = monotonic_s()  # it may have drained while they were being attached
        self._udp_send_s = monotonic_s()

    def _take_sweep(self) -> bool:
        sweep = self._sweeps.take()
        if sweep is None:
            return False
        self._take_table()
        self._count_kernel()
        # Those of ours that came and went while the sweep was under way.
        readings = tuple(self._own.others(sweep.readings))
        self._tell(self._policy.on_sweep(replace(sweep, readings=readings), self._reap))
        cost_s = (sweep.ended_ns - sweep.begun_ns) / 1e9
        self._rested_s = monotonic_s() + cost_s * SWEEP_SHARE
        self._next_sweep_s = max(self._next_sweep_s, self._rested_s)
        return True

    def _take_table(self) -> None:
        """Take the kernel's table; what was read before it can only be older than it."""
        if self._probes:
            self._read()
            self._tell(self._policy.on_table(self._own.others(self._probes.tables.open_episodes())))

    def _reap(self, address: int, direction: Direction) -> bool:
        return self._probes is not None and self._probes.tables.reap(address, direction)

    def _look(self) -> None:
        """Do what is due: repeat alerts, ask for a sweep, show losses."""
        now_s = monotonic_s()
        if (
            now_s >= self._next_tidy_s and not self._sweeps.busy
        ):  # a sweep may have seen what is closed by now
            self._next_tidy_s = now_s + TIDY_S
            self._own.forget_closed()
        if now_s >= self._next_sweep_s:
            self._ask(everywhere=True)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + self._config.sweep.recheck
            self._take_table()
            self._rest_demanded(now_s)
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
            self._next_sweep_s = monotonic_s() + (timing.poll if self._blind else timing.interval)
        self._policy.sweep_begins()
        self._sweeps.ask(Wanted(None if everywhere else frozenset(s.netns for s in sockets), inodes))

    def _tell(self, notices: list[Notice]) -> None:
        if notices:
            self._dispatch.tell(self._telling.on_notices(notices, monotonic_ns()))

    def _tell_due(self, now_ns: int) -> None:
        """Tell what was held, is to be repeated, or was collected for long enough; and that we live.

        All that happened until `now_ns` must have been read.
        """
        held_ns = self._policy.next_due_ns()
        if held_ns is not None and held_ns <= now_ns:
            self._take_table()  # the size of now, and whether it is over still
        self._tell(self._policy.on_time(now_ns))
        self._dispatch.tell(self._telling.on_time(now_ns))
        if now_ns / 1e9 >= self._next_heartbeat_s:
            self._next_heartbeat_s = now_ns / 1e9 + self._config.heartbeat
            self._count_kernel()
            self._dispatch.heartbeat()

    def _must_wait_for_old(self) -> bool:
        """Tell whether other settings must wait until requests by earlier ones have ended: they take threads."""
        must = self._dispatch.is_busy()
        if must and not self._waits_said:
            log.warning("the settings are read again once earlier requests that hang have ended")
        self._waits_said = must
        return must

    def _take_settings(self) -> None:
        """Go on with the settings as they are written now; with all those that are, if anything speaks against it."""
        apply: Callable[[], None] | None = None
        with passing(self._counters, "reload_failed", "the settings are kept, the new ones cannot be taken"):
            apply = self._ready_for(self._reread())
        if apply is not None:
            apply()

    def _ready_for(self, config: Config) -> Callable[[], None]:
        """Make everything ready for other settings, and return what has them apply."""
        self._dispatch.rehearse(config)
        levels, telling = levels_of(config), settings_of(config)
        try:
            self._set_levels(config)
            self._store.start_if_wanted(config)
            deliver = self._dispatch.reload(config)
        except BaseException:
            self._set_levels(self._config)
            raise
        return partial(self._go_by, config, levels, telling, deliver)

    def _go_by(
        self, config: Config, levels: LevelsOf, telling: Settings, deliver: Callable[[], None]
    ) -> None:
        fixed = [key for key in FIXED if getattr(config, key) != getattr(self._config, key)]
        deliver()
        self._config = config
        self._policy.go_by(levels)
        self._telling.change(telling)
        now_s = monotonic_s()
        self._next_heartbeat_s = now_s + config.heartbeat if config.heartbeat else math.inf
        self._next_sweep_s = now_s  # what is over by the new thresholds
        logging.getLogger().setLevel(config.log.upper())
        if fixed:
            log.warning("not taken over before the next start: %s", ", ".join(fixed))
        log.info(
            "new settings: thresholds send %d, recv %d bytes", config.thresholds.send, config.thresholds.recv
        )

    def _set_levels(self, config: Config) -> None:
        if self._probes:
            self._probes.tables.set_levels(kernel_levels_of(config))

    def _show_losses(self) -> None:
        self._count_kernel()
        counts = self._counters.snapshot()
        losses = {name: counts[name] for name in LOSSES if counts[name]}
        if losses != self._losses:
            if losses.get("unreturned") != self._losses.get("unreturned"):
                self._next_sweep_s = monotonic_s()  # a sweep sees what was not judged
            self._losses = losses
            log.warning("lost: %s", " ".join(f"{name}={count}" for name, count in losses.items()))

    def _count_kernel(self) -> None:
        self._counters.set("log_dropped", logs.dropped())
        if self._probes:
            tally = self._probes.tables.tally()
            self._counters.set("lost_submit", tally.lost)
            self._counters.set("episodes_full", tally.full)
            self._counters.set("own", tally.own + self._own_late)
            self._counters.set("unmarked", tally.unmarked)
            self._counters.set("mptcp", tally.mptcp)
            self._counters.set("unreturned", tally.unreturned)
            self._counters.set("untold", tally.untold)

    def close(self) -> None:
        """Stop looking, deliver what can be delivered in a moment, say what is still owed, and show the counters."""
        self._sweeps.stop()
        if self._probes:
            self._count_kernel()
            self._probes.close()
        self._dispatch.tell(self._telling.flush(monotonic_ns()))
        owed = self._dispatch.close(FLUSH_S)
        log.info("stopped, %d alerts owed; %s", owed, self._counts())

    def _counts(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self._counters.snapshot().items())
