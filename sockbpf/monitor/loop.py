# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The loop: events and sweeps go to the judge, its notices to the dispatch; build.py puts the parts together."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from sockbpf.monitor.schedule import IDLE_S, Waits
from sockbpf.monitor.terms import wanted_by
from sockbpf.process.clock import monotonic_ns, monotonic_s
from sockbpf.process.life import ROUND_S, Pulse, late, living, setting_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.policy import Policy, Reap
    from sockbpf.judge.stages import Stages
    from sockbpf.judge.stalls import Stalls
    from sockbpf.kernel.attach.probes import Probes
    from sockbpf.kernel.look.sweep import SweepThread
    from sockbpf.monitor.answering import Answering
    from sockbpf.monitor.causes import Causes
    from sockbpf.monitor.demand import Demand
    from sockbpf.monitor.dispatch import Dispatch
    from sockbpf.monitor.history import History
    from sockbpf.monitor.left_open import LeftOpen
    from sockbpf.monitor.losses import Losses
    from sockbpf.monitor.naming import Naming
    from sockbpf.monitor.own import Own
    from sockbpf.monitor.reload import Reload
    from sockbpf.monitor.rules import Rules
    from sockbpf.monitor.schedule import Schedule
    from sockbpf.monitor.service import Service
    from sockbpf.monitor.silencing import Silencing
    from sockbpf.monitor.status import Status
    from sockbpf.monitor.waking import Waking
    from sockbpf.monitor.watch import Judge, Watching
    from sockbpf.record.alert import Folded, Notice
    from sockbpf.record.event import Event

log = logging.getLogger(__name__)

AT_ONCE = 1024
"""So many events are made and judged at a time: not all of a storm, an event being larger than its record."""

ARMING_S = 0.05
"""Until all first looks are taken: the interval at which that is asked."""

FLUSH_S = 3
"""How long owed alerts are still delivered after the monitor was asked to stop."""


@dataclass(kw_only=True, eq=False)
class Monitor:
    """The parts and the loop that calls them; `run` returns after `stop`, which a signal handler may call."""

    waking: Waking
    probes: Probes | None
    """None where there are no hooks, only sweeps."""
    reap: Reap
    demands: tuple[Demand, ...]
    own: Own
    sweeps: SweepThread
    policy: Policy
    stalls: Stalls
    """Judges sweeps beside the policy; one of `judges` too."""
    judges: tuple[Judge, ...]
    """Those beside the policy, each with episodes of its own."""
    watches: tuple[Watching, ...]
    rules: Rules
    stages: Stages
    causes: Causes
    naming: Naming
    silencing: Silencing
    dispatch: Dispatch
    history: History
    schedule: Schedule
    settings: Reload
    losses: Losses
    status: Status
    answering: Answering
    left: LeftOpen
    """What an earlier run told and did not end."""
    service: Service
    counters: Counters
    _stopping: bool = field(default=False, init=False)

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping = True
        self.waking.wake()

    def show(self) -> None:
        """Make the loop log all counters; a signal handler may call this, but must not take their lock itself."""
        self.losses.wanted = True
        self.waking.wake()

    def reload(self) -> None:
        """Make the loop read the settings again; a signal handler may call this."""
        self.settings.wanted = True
        self.waking.wake()

    def run(self, on_armed: Callable[[], None]) -> None:
        """Watch until stopped; `on_armed` is called once every hook is armed and all first looks are done."""
        pulse = Pulse("main", IDLE_S + ROUND_S)
        with living(pulse):
            self._run(on_armed, pulse)

    def _run(self, on_armed: Callable[[], None], pulse: Pulse) -> None:
        armed = swept = False
        while not self._stopping:
            pulse.beat()
            self.waking.sleep(self._pause_s() if armed else min(self._pause_s(), ARMING_S))
            woke_ns = monotonic_ns()
            self._read()
            swept |= self._take_sweep()
            if not armed and swept and all(watch.has_looked for watch in self.watches):
                armed = True
                self._log_armed(on_armed)
            self._look()
            for watch in self.watches:
                self._alert(self.rules.named(watch.notices()))
            self._alert_due(woke_ns)
            self._tell_left()
            self.service.alive(lambda: not late())
            self.settings.take_wanted()
            self.losses.show_wanted()
            self.answering.give_wanted(self.status.now)
        self._read()  # events since the last round: they came before the stop

    def _log_armed(self, on_armed: Callable[[], None]) -> None:
        self.left.arm(monotonic_ns())
        self._tell_left()
        self._tell(self.stages.pass_on())  # of what goes on, before it is told that this run has begun
        self.dispatch.started(self.status.about())
        self.dispatch.flush(FLUSH_S)
        self.settings.log_thresholds("armed")
        on_armed()
        self.service.ready("watching by hooks" if self.probes else "watching by polling, mode=poll")

    def _pause_s(self) -> float:
        waits = Waits(
            due_s=self.service.due_s,
            due_ns=(
                self.policy.next_due_ns(),
                self.stages.next_due_ns(),
                self.silencing.next_due_ns(monotonic_ns()),
                *(judge.next_due_ns() for judge in self.judges),
            ),
            sweeping=self.sweeps.busy,
            delivering=self.probes is not None and self.dispatch.owes(),
            watching=bool(self.policy.open or self.stalls.open)
            or self.rules.waits
            or any(demand.attached for demand in self.demands),
            reloading=self.settings.wanted,
        )
        return self.schedule.pause_s(monotonic_s(), waits)

    def _read(self) -> None:
        if self.probes is None:
            return
        events = self.probes.read()
        while some := list(islice(events, AT_ONCE)):
            self._take(some)

    def _take(self, events: list[Event]) -> None:
        others = []
        for event in events:
            now_s = monotonic_s()
            self.schedule.heard(now_s)
            if event.socket in self.own:
                self.own.reap(event)
                continue
            for demand in self.demands:
                if demand.on_event(event, now_s):
                    self.schedule.settle(monotonic_s())  # attaching has taken its time
            others.append(event)
        self.rules.seek(others)
        for event in others:
            with setting_aside(self.counters, event.socket):
                for decided in self.rules.decided(event):
                    self._alert(self.policy.on_event(decided))

    def _take_sweep(self) -> bool:
        """Give a sweep that has ended to the policy; return whether there was one."""
        sweep = self.sweeps.take()
        if sweep is None:
            return False
        self._take_table()
        self.losses.count()
        if self.rules.refresh():
            self.policy.use_levels(self.rules.levels_of)
        readings = tuple(self.own.others(sweep.readings))  # some of the monitor's came and went during it
        sweep = replace(sweep, readings=readings)
        self._alert(self.policy.on_sweep(sweep, self.reap))
        self._alert(self.rules.named(self.stalls.on_sweep(sweep)))
        self.schedule.sweep_ended(monotonic_s(), sweep.cpu_s)
        if due_ns := self.stalls.look_due_ns(sweep.begun_ns):
            self.schedule.sweep_by(due_ns / 1e9)
        return True

    def _take_table(self) -> None:
        """Give the kernel's table to the policy, after all events: these can only be older than the table."""
        if self.probes:
            self._read()
            entries = self.own.others(self.probes.tables.open_episodes())
            sure, new = self.rules.sure(entries, monotonic_ns())
            for event in new:
                self._alert(self.policy.on_event(event))
            self._alert(self.policy.on_table(sure))

    def _look(self) -> None:
        """Do what is due: forget own sockets that are closed, look at open episodes, log losses, ask for a sweep."""
        now_s = monotonic_s()
        if not self.sweeps.busy and self.schedule.take_tidying(now_s):  # a sweep may have seen closed ones
            self.own.forget_closed()
        if self.schedule.is_sweep_due(now_s):
            self._ask(everywhere=True)
        if self.schedule.take_settled(now_s) and self.probes and not self.probes.end_drained():
            self.schedule.look_at(now_s)
        if self.schedule.take_look(now_s):
            self._take_table()
            over = {(episode.socket.protocol, episode.direction) for episode in self.policy.open.values()}
            for demand in self.demands:
                if demand.rest(over, now_s):
                    self.schedule.settle(monotonic_s())
            if self.losses.log_new():
                self.schedule.sweep_at(monotonic_s())
            if self.schedule.has_rested(now_s):
                self._ask(everywhere=False)

    def _ask(self, *, everywhere: bool) -> None:
        """Ask for a sweep of all sockets, or of those with open episodes."""
        open_ = [*self.policy.open.values(), *self.stalls.open.values()]
        if self.sweeps.busy or not (everywhere or open_):
            return
        if everywhere:
            self.schedule.sweep_begins(monotonic_s())
        self.policy.sweep_begins()
        sockets = [episode.socket for episode in open_]
        least = self.rules.book.least_over()
        self.sweeps.ask(wanted_by(self.settings.config, sockets, least, everywhere=everywhere))

    def _alert(self, notices: list[Notice]) -> None:
        if notices:
            self._tell(self.stages.on_notices(self.silencing.on_notices(notices), monotonic_ns()))

    def _tell(self, notices: list[Notice | Folded]) -> None:
        if told := self.silencing.go_on(notices):
            self.dispatch.alert(self.naming.named(self.causes.explained(told)))

    def _tell_left(self) -> None:
        """Tell of what an earlier run left open that it has ended."""
        if self.left:
            now_ns = monotonic_ns()
            self._alert(self.left.ended(now_ns, time.time_ns() - now_ns))

    def _alert_due(self, now_ns: int) -> None:
        """Send the alerts that are due: of holds, repeats and collected notices; and the heartbeat.

        All events up to `now_ns` must have been read.
        """
        if (held_ns := self.policy.next_due_ns()) is not None and held_ns <= now_ns:
            self._take_table()  # for the present size, and whether the queue is still over
        self._alert(self.policy.on_time(now_ns))
        for judge in self.judges:
            self._alert(self.rules.named(judge.on_time(now_ns)))
        self._alert(self.silencing.ended())
        self._tell(self.stages.on_time(now_ns))
        if self.schedule.take_heartbeat(now_ns / 1e9):
            self.losses.count()
            self.dispatch.heartbeat(self.status.about())

    def close(self) -> None:
        """Detach, deliver for at most `FLUSH_S`, and log how many alerts stay owed, with all counters."""
        self.answering.stop()
        self.history.stop()
        self.sweeps.stop()
        for watch in self.watches:
            watch.stop()
        if self.probes:
            self.losses.count()
            self.probes.close()
        self._tell(self.stages.flush(monotonic_ns()))
        self.causes.close()
        self.dispatch.stopped()
        owed = self.dispatch.close(FLUSH_S)
        log.info("stopped, %d alerts owed; %s", owed, self.losses.all())
