# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the settings to what each part of the monitor goes by."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from sockbpf.judge.levels import same_for_all
from sockbpf.judge.stages import Settings
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.monitor.schedule import Timing
from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from sockbpf.judge.levels import LevelsOf
    from sockbpf.settings.config import Config


def levels_of(config: Config) -> LevelsOf:
    """Return what episodes go by: the same for all sockets."""
    return same_for_all(
        {Direction.SEND: config.thresholds.send, Direction.RECV: config.thresholds.recv},
        clear_ratio=config.clear_ratio,
        hold_ns=int(config.hold * 1e9),
        repeat_ns=int(config.repeat * 1e9),
    )


def settings_of(config: Config) -> Settings:
    """Return what is to be told, and how."""
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


def timing_of(config: Config, *, is_blind: bool) -> Timing:
    """Return how often something is done; `is_blind`: there is something that sweeps alone can see."""
    return Timing(
        sweep_s=config.sweep.poll if is_blind else config.sweep.interval,
        look_s=config.sweep.recheck,
        heartbeat_s=config.heartbeat or math.inf,
    )
