# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Puts the monitor together from its parts, by the settings and by what this kernel can do."""

from __future__ import annotations

import logging
import os
import time
from contextlib import closing
from functools import partial
from hashlib import blake2s
from threading import get_native_id
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.judge.policy import Policy
from sockbpf.judge.rates import Rates
from sockbpf.judge.stages import Stages
from sockbpf.judge.stalls import Stalls
from sockbpf.kernel.attach.arm import arm, log_sight
from sockbpf.kernel.look.choice import Choice
from sockbpf.kernel.look.owner import Owners
from sockbpf.kernel.look.sweep import Sweeper, SweepThread
from sockbpf.monitor.answering import Answering
from sockbpf.monitor.causes import Causes
from sockbpf.monitor.demand import QUEUES, Demand
from sockbpf.monitor.left_open import LeftOpen
from sockbpf.monitor.listening import ListenersJudge, Listening
from sockbpf.monitor.loop import Monitor
from sockbpf.monitor.losses import Losses
from sockbpf.monitor.naming import Naming
from sockbpf.monitor.own import Own
from sockbpf.monitor.rates import RateWatch
from sockbpf.monitor.reload import Reload
from sockbpf.monitor.rules import Rules
from sockbpf.monitor.schedule import Schedule
from sockbpf.monitor.service_looks import ServiceLooks
from sockbpf.monitor.silences import Silences
from sockbpf.monitor.silences_file import beside
from sockbpf.monitor.silencing import Silencing
from sockbpf.monitor.status import Status
from sockbpf.monitor.terms import first_levels_of, levels_of, settings_of, stalls_found_ns, timing_of
from sockbpf.monitor.waking import Waking
from sockbpf.process.clock import boot_id, monotonic_s
from sockbpf.record.event import Direction
from sockbpf.record.facts import Condition
from sockbpf.record.rule import NEVER_STALLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import Episodes
    from sockbpf.kernel.attach.probes import Probes
    from sockbpf.kernel.attach.tables import Tables
    from sockbpf.monitor.dispatch import Dispatch
    from sockbpf.monitor.history import History
    from sockbpf.monitor.service import Service
    from sockbpf.monitor.store_child import StoreProcess
    from sockbpf.monitor.watch import Judge, Watching
    from sockbpf.record.left import Left
    from sockbpf.settings.config import Config

log = logging.getLogger(__name__)


def _dispatch() -> type[Dispatch]:
    """Import what delivers. HTTP's library takes a tenth of a second: this is done while the compiler works."""
    from sockbpf.monitor.dispatch import Dispatch

    return Dispatch


def _history() -> type[History]:
    """Import what sends the history, by the same library."""
    from sockbpf.monitor.history import History

    return History


def build(
    config: Config, counters: Counters, service: Service, store: StoreProcess, reread: Callable[[], Config]
) -> Monitor:
    """Load and attach the hooks, and return the monitor, ready to run.

    Where the kernel has no hooks for us, the reason is logged and sweeps do all the work. `reread` returns the
    settings as the file has them now, or raises ConfigError.
    """
    salt = f"{boot_id()} {os.getpid()} {time.time_ns()}"
    owners = Owners()
    policy = Policy(levels_of(config), counters, salt, owners.owner, owners.may_be_held)
    stalls = Stalls(
        lambda _socket, _direction: NEVER_STALLED, counters, salt, owners.owner, owners.may_be_held
    )
    policy.episodes.seek = stalls.episodes.seek = owners.seek
    listeners = ListenersJudge.of(config, counters, salt, owners.owner)
    rates = Rates(salt, owners.owner)
    judges: tuple[Judge, ...] = (stalls, listeners, rates)

    def is_open(id_: str) -> bool:
        known = policy.is_open(id_) or any(judge.is_open(id_) for judge in judges)
        return known or left.is_waiting(id_)

    def open_episodes() -> int:
        return len(policy.open) + sum(len(judge) for judge in judges)

    stages = Stages(settings_of(config), counters, is_open)
    waking = Waking()
    rate_watch = RateWatch(rates, on_seen=waking.wake, counters=counters)
    with closing(Choice(config.kernel.look, config.kernel.types)) as choice:  # compiled while the hooks are
        probes, no_hooks = _armed(config, counters)
        look = choice.take(counters)
    for descriptor in probes.fds() if probes else ():
        waking.wake_by(descriptor)
    tables = probes.tables if probes else None
    rules = Rules(config, owners, tables, counters)
    rules.use(config)
    policy.use_levels(rules.levels_of)
    policy.levels_of_event = rules.levels_of_event
    stalls.settings_of = rules.stalled_of
    is_blind = probes is None or any(sight.candidate is None for sight in probes.sights)
    run = blake2s(salt.encode(), digest_size=8).hexdigest()
    dispatch = _dispatch()(config, counters, open_episodes, store.port, run)
    own = Own(tables, dispatch.serves)
    rate_watch.use(config)
    schedule = Schedule(timing_of(config, is_blind=is_blind), monotonic_s())
    listening = Listening.begin(config, listeners, waking.wake, counters)
    watches: tuple[Watching, ...] = (listening.watch, rate_watch)
    naming = Naming()
    naming.prepare(config.owner.containers)
    naming.use(cmdline=config.owner.cmdline, containers=config.owner.containers)
    silencing = Silencing(Silences(beside(config.journal.path), waking.wake), naming, counters)
    sweeps = _sweeps(Sweeper(counters, look), waking, tables)
    looked_at = (policy.episodes, stalls.episodes, *listeners.episodes)
    looks = ServiceLooks(look, looked_at, sweeps.between, counters)
    history = _history().begin(config, counters, store.port, looks)
    settings = Reload(
        config=config, reread=reread, counters=counters, rules=rules,
        policy=policy, listening=listening, rates=rate_watch, stages=stages, schedule=schedule,
        is_blind=is_blind, dispatch=dispatch, store=store, naming=naming,
        history=history,
    )  # fmt: skip
    left = LeftOpen(
        dispatch.left_open(),
        boot_id(),
        partial(_home_of, policy, stalls, listeners, rates),
        stalls_found_ns(config),
    )
    for storm, members in left.folds():
        stages.take_up(storm, members)
    losses = Losses(counters, probes, own)
    causes = Causes(counters, owners.owner, owners.known, stalls.stood_still_ns)
    status = Status(
        run=run,
        probes=probes, no_hooks=no_hooks, look=look.name, rates=rates, rules=rules,
        causes=causes, naming=naming, silencing=silencing,
        queues=(policy.episodes, stalls.episodes), listeners=listeners.episodes,
        settings=settings, schedule=schedule, dispatch=dispatch, losses=losses, counters=counters,
    )  # fmt: skip
    dispatch.show(status.watching, looks)
    answering = Answering(config.status.socket, waking.wake, counters, silencing.silences.order)
    answering.start()
    return Monitor(
        waking=waking,
        probes=probes,
        reap=tables.reap if tables else lambda _address, _direction: False,
        demands=_demands(probes) if probes else (),
        own=own,
        sweeps=sweeps,
        policy=policy,
        stalls=stalls,
        rules=rules,
        judges=judges,
        watches=watches,
        stages=stages,
        causes=causes,
        naming=naming,
        silencing=silencing,
        dispatch=dispatch,
        history=history,
        schedule=schedule,
        settings=settings,
        losses=losses,
        status=status,
        answering=answering,
        left=left,
        service=service,
        counters=counters,
    )


def _home_of(
    policy: Policy, stalls: Stalls, listeners: ListenersJudge, rates: Rates, left: Left
) -> Episodes | Rates:
    """Return where an episode that an earlier run left would be."""
    if left.counter:
        return rates
    is_stalled = Condition(left.condition) is Condition.STALLED
    if Direction(left.direction) is Direction.ACCEPT:
        return listeners.episodes[is_stalled]
    return stalls.episodes if is_stalled else policy.episodes


def _sweeps(sweeper: Sweeper, waking: Waking, tables: Tables | None) -> SweepThread:
    sweeps = SweepThread(sweeper, waking.wake)
    if tables:
        tables.set_lookers(
            sweeps.thread, get_native_id()
        )  # ahead of a first look: at all, and closely at one
    return sweeps


def _armed(config: Config, counters: Counters) -> tuple[Probes | None, str]:
    """Return the hooks; or none and why, if the settings want them."""
    try:
        probes = arm(config, first_levels_of(config), counters, meanwhile=_dispatch)
    except UnsupportedError as reason:
        log.warning("no hooks: %s", reason)
        log.warning("polling every %g s instead, mode=poll", config.sweep.poll)
        return None, "" if config.kernel.hooks == "none" else str(reason)
    for sight in probes.sights:
        log_sight(sight)
    return probes, ""


def _demands(probes: Probes) -> tuple[Demand, ...]:
    def attach(thing: str, wanted: bool) -> bool:
        return probes.demand((thing,), wanted=wanted)

    return tuple(Demand(QUEUES[thing], partial(attach, thing)) for thing in probes.on_demand)
