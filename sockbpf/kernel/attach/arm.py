# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the settings to programs loaded into the kernel, or the reason why not."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.legacy import (
    has_kprobes,
    has_raw_tracepoints,
    refuse_if_it_can_panic,
    sweep_stale_kprobes,
    what_costs,
)
from sockbpf.kernel.attach.loading import load
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.build import cache
from sockbpf.kernel.build.choice import HOOKS, WANTED_SYMBOLS, choose, lacking
from sockbpf.kernel.build.compiler import Compiler
from sockbpf.kernel.build.hooks import KPROBES, TRACEPOINTS
from sockbpf.kernel.build.making import bytecode_of
from sockbpf.kernel.build.order import Matching, order_of
from sockbpf.kernel.build.shortcuts import Shortcut, taken_by, trial_of_direct_values, trial_of_rules
from sockbpf.kernel.build.source import kernel_symbols
from sockbpf.kernel.libbcc import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.kernel.attach.loading import Loaded
    from sockbpf.kernel.attach.tables import KernelLevels
    from sockbpf.kernel.build.bytecode import Bytecode
    from sockbpf.kernel.build.choice import Sight
    from sockbpf.kernel.build.hooks import HookKind
    from sockbpf.settings.config import Config

log = logging.getLogger(__name__)

KINDS = {"auto": TRACEPOINTS | KPROBES, "tracepoints": TRACEPOINTS, "kprobes": KPROBES}


def need_root() -> None:
    """Raise UnsupportedError unless this user may load programs and see all sockets."""
    if os.geteuid() != 0:
        raise UnsupportedError(
            "needs root, to load programs into the kernel and to see all processes: sudo sockbpf …"
        )


def usable(config: Config) -> frozenset[HookKind]:
    """Return the kinds of hooks that the settings allow and this kernel can have.

    Raise UnsupportedError when there are none, or when loading is dangerous here.
    """
    if config.kernel.hooks == "none":
        raise UnsupportedError("the configuration says so: kernel > hooks: none")
    kinds = KINDS[config.kernel.hooks]
    if not has_kprobes():
        log.info("no kprobes: this kernel has none (CONFIG_KPROBE_EVENTS)")
        kinds -= KPROBES
    if not has_raw_tracepoints():
        log.info("no raw tracepoints: this kernel is older than 4.17")
        kinds -= TRACEPOINTS
    if not kinds:
        raise UnsupportedError(
            f"the configuration asks for {config.kernel.hooks} alone. Remedy: kernel > hooks: auto"
        )
    if not config.kernel.risk_panic:
        refuse_if_it_can_panic()
    library()  # without it nothing can be attached
    return kinds


def arm(
    config: Config, levels: KernelLevels, counters: Counters, meanwhile: Callable[[], object] = tuple
) -> Probes:
    """Load and attach, for each thing to be seen, the best hooks that this kernel has.

    `meanwhile` is called while the compiler works, if and as often as it has to. Raise UnsupportedError
    when there is nothing to attach.
    """
    kinds = usable(config)
    if costs := what_costs():
        log.warning("%s", costs)
    stale = sweep_stale_kprobes({hook.target for hook in HOOKS})
    if stale:
        log.info("removed what a killed process had left in kprobe_events: %s", ", ".join(stale))
    kernel = config.kernel
    with ExitStack() as stack:
        # At once, unless it is likely that there is nothing to compile: it gets ready while this looks around.
        started = None if cache.is_there() else stack.enter_context(closing(Compiler(kernel.types)))
        symbols = kernel_symbols(WANTED_SYMBOLS)
        refused = lacking(symbols)
        shortcuts = shortcuts_here()
        matching: Matching | None = matching_here()
        while True:
            sights = choose(kinds, symbols, refused)
            if not any(sight.candidate and sight.candidate.hooks for sight in sights):
                raise UnsupportedError("no hook can be attached: " + "; ".join(sorted(set(refused.values()))))
            order = order_of(
                sights,
                symbols=symbols,
                max_episodes=kernel.max_episodes,
                shortcuts=shortcuts,
                matching=matching,
            )
            bytecode = bytecode_of(order, kernel.types, started, meanwhile)
            loaded = load(bytecode)
            started = None
            if loaded.refused and (matching or taken_by(bytecode)):
                loaded.close()
                shortcuts, matching = _with_less(shortcuts, matching, loaded, bytecode)
                continue
            probes = Probes(sights, loaded, levels, perf_pages=kernel.perf_pages, counters=counters)
            now_refused = probes.attach()
            if not now_refused:
                return probes
            probes.close()
            refused |= now_refused  # the next candidates, then; the table is finite


def _with_less(
    shortcuts: frozenset[Shortcut], matching: Matching | None, loaded: Loaded, bytecode: Bytecode
) -> tuple[frozenset[Shortcut], Matching | None]:
    """Return the shortcuts of another try, and who finds out which rule applies.

    One by one, what newer kernels brought first: the others may not be at fault.
    """
    why, taken = next(iter(loaded.refused.items())), taken_by(bytecode)
    for shortcut in Shortcut:
        if shortcut in taken:
            log.warning(
                "each packet costs more here, the kernel refuses shortcuts (%s): %s: %s",
                *(shortcut.value, *why),
            )
            return shortcuts - {shortcut}, matching
    if matching is Matching.IN_KERNEL:
        log.warning("the kernel refuses programs that match rules, user space does: %s: %s", *why)
        return shortcuts_here(), Matching.BY_ANSWERS
    log.warning("no rules can be had here, the kernel refuses programs that judge by them: %s: %s", *why)
    return shortcuts_here(), None


def shortcuts_here() -> frozenset[Shortcut]:
    """Return the shortcuts to begin with: direct values were tried, casts the compiler leaves out without BTF."""
    trial = load(trial_of_direct_values())
    trial.close()
    return frozenset(Shortcut) - ({Shortcut.DIRECT_VALUES} if trial.refused else set())


def matching_here() -> Matching:
    """Return who finds out which rule applies: the kernel side where programs that match can be loaded."""
    try:
        trial = load(trial_of_rules())
    except UnsupportedError:  # an old kernel lacks the maps
        return Matching.BY_ANSWERS
    trial.close()
    return Matching.BY_ANSWERS if trial.refused else Matching.IN_KERNEL


def log_sight(sight: Sight) -> None:
    """Log how one thing is seen on this kernel."""
    for refused in sight.refused:
        log.debug("%s: %s", sight.thing, refused)
    if sight.candidate is None:
        log.warning("%s: no hook can be attached, the sweeps alone see it", sight.thing)
    else:
        unseen = f"; unseen: {sight.candidate.unseen}" if sight.candidate.unseen else ""
        log.info("%s: %s%s", sight.thing, sight.hooks, unseen)
