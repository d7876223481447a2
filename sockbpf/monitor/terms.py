# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the settings to what each part of the monitor needs of them: levels, stages, timing."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.listeners import ListenerSettings
from sockbpf.judge.stages import Settings
from sockbpf.judge.unaccepted import UnacceptedSettings
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.look.sweep import wanted_of
from sockbpf.monitor.schedule import APART_S, Timing
from sockbpf.record.event import Direction
from sockbpf.record.rule import Decision, StallSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sockbpf.judge.levels import Levels, LevelsOf
    from sockbpf.kernel.look.sweep import Wanted
    from sockbpf.record.event import Socket
    from sockbpf.record.facts import Fill
    from sockbpf.settings.config import Config
    from sockbpf.settings.stalled import StalledSettings

LISTENERS_LEAST_S, LISTENERS_MOST_S = 0.25, 1.0
"""Between two looks at the listeners."""

MOST_BYTES = 2**31 - 1
"""No queue holds more: the kernel keeps its size in 32 bits, signed."""

LOOKS_WITHIN = 3
"""So often the sockets are looked at within the time after which a queue is stalled."""


NEVER = (2**32 - 1, 2**32 - 1)
"""Thresholds that no queue exceeds."""


def thresholds_of(config: Config) -> dict[Direction, int | Fill]:
    """Return the threshold of each direction."""
    return {Direction.SEND: config.thresholds.send, Direction.RECV: config.thresholds.recv}


def _levels_by_direction(config: Config) -> dict[Direction, Levels]:
    return levels_by_direction(
        thresholds_of(config),
        clear_ratio=config.clear_ratio,
        hold_ns=int(config.hold_s * 1e9),
        repeat_ns=int(config.repeat * 1e9),
    )


def levels_of(config: Config) -> LevelsOf:
    """Return the levels of episodes as the judge asks for them: the same for all sockets."""
    return same_for_all(_levels_by_direction(config))


def decision_of(config: Config) -> Decision:
    """Return what is decided for all sockets, as a rule would decide it."""
    by_direction = _levels_by_direction(config)
    both = [by_direction[direction] for direction in (Direction.SEND, Direction.RECV)]

    def of(level: Callable[[Levels], int], *, of_buffer: bool) -> tuple[int, int]:
        send, recv = (level(levels) if levels.of_buffer == of_buffer else 0 for levels in both)
        return send, recv

    return Decision(
        threshold=of(lambda levels: levels.threshold, of_buffer=False),
        clear=of(lambda levels: levels.clear, of_buffer=False),
        fill=of(lambda levels: levels.threshold, of_buffer=True),
        clear_fill=of(lambda levels: levels.clear, of_buffer=True),
        hold_ns=both[0].hold_ns,
        repeat_ns=both[0].repeat_ns,
        stalled=_stall_settings_of(config),
    )


def settings_of(config: Config) -> Settings:
    """Return the settings of the stages: which events are alerts, when a queue is counted, when it is folded."""
    return Settings(
        events=frozenset(config.events),
        repeat_ns=int(config.repeat * 1e9),
        flapping_above=config.flapping.above,
        flapping_window_ns=int(config.flapping.window * 1e9),
        fold_above=config.fold.above,
        fold_window_ns=int(config.fold.window * 1e9),
    )


def listener_settings_of(config: Config) -> ListenerSettings:
    """Return when a listener is over."""
    listeners = config.listeners
    hold_ns, repeat_ns = int(listeners.hold * 1e9), int(config.repeat * 1e9)
    return ListenerSettings(listeners.backlog, config.clear_ratio, hold_ns, repeat_ns)


def unaccepted_settings_of(config: Config) -> UnacceptedSettings:
    """Return when a listener is stalled: with `backlog` 0 there is nothing about listeners."""
    after_s = config.stalled.after if config.listeners.backlog else 0
    return UnacceptedSettings(int(after_s * 1e9), int(config.repeat * 1e9))


def listeners_each_s(config: Config) -> float:
    """Return the seconds between two looks at the listeners: a hold must hold at three looks."""
    return min(max(config.listeners.hold / 2, LISTENERS_LEAST_S), LISTENERS_MOST_S)


def _stalled(config: Config) -> list[StalledSettings]:
    """Return each that some queues are judged by, of those by which a queue can be stalled."""
    of_rules = [rule.stalled_or(config.stalled) for rule in config.rules if not rule.ignore]
    return [each for each in (config.stalled, *of_rules) if each.after]


def _stall_settings_of(config: Config) -> StallSettings:
    return StallSettings(int(config.stalled.after * 1e9), config.stalled.above, int(config.repeat * 1e9))


def wanted_by(
    config: Config, sockets: Collection[Socket], over: tuple[int, int], *, everywhere: bool
) -> Wanted:
    """Return what a sweep is to look at: these sockets, what is over and what may be stalled.

    `over` are the least sizes, bytes, that may be over, SEND and RECV.
    """
    stalled = _stalled(config)
    send, recv = (min(size, *(each.above for each in stalled), MOST_BYTES) for size in over)
    return wanted_of(sockets, (send, recv), everywhere=everywhere, progress=bool(stalled))


def kernel_levels_of(config: Config) -> KernelLevels:
    """Return the levels that the kernel side compares with, where no rule applies: those of the judge."""
    all_ = decision_of(config)
    return KernelLevels(all_.threshold, all_.clear, all_.fill, all_.clear_fill, own_pid=os.getpid())


def first_levels_of(config: Config) -> KernelLevels:
    """Return the levels until the kernel side has its rules: it judges nothing, and a sweep finds what is over."""
    levels = kernel_levels_of(config)
    return replace(levels, threshold=NEVER, clear=NEVER, fill=(0, 0)) if config.rules else levels


def stalls_found_ns(config: Config) -> int:
    """Return how long after the first looks every stalled queue has been found again."""
    of_rules = (rule.stalled.after for rule in config.rules if rule.stalled)
    return int(3 * max(config.stalled.after, *(after or 0.0 for after in of_rules), 0.0) * 1e9) + 5 * 10**9


def timing_of(config: Config, *, is_blind: bool) -> Timing:
    """Return how often the loop sweeps, looks and sends a heartbeat.

    `is_blind` says that no hook sees some change of a queue, so that sweeps must find it.
    """
    sweep_s = config.sweep.poll if is_blind else config.sweep.interval
    for stalled in _stalled(config):
        sweep_s = min(sweep_s, max(stalled.after / LOOKS_WITHIN, APART_S))
    return Timing(
        sweep_s=sweep_s,
        look_s=config.sweep.recheck,
        heartbeat_s=config.heartbeat or math.inf,
    )
