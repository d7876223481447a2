"""From the settings to programs loaded into the kernel, or the reason why not."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.hooks import KPROBES, SEEN, TRACEPOINTS
from sockbpf.kernel.legacy import has_kprobes, refuse_if_it_can_panic, sweep_stale_kprobes
from sockbpf.kernel.probes import Probes, Sight

if TYPE_CHECKING:
    from sockbpf.config import Config
    from sockbpf.counters import Counters

log = logging.getLogger(__name__)

KINDS = {"auto": TRACEPOINTS | KPROBES, "tracepoints": TRACEPOINTS, "kprobes": KPROBES}


def need_root() -> None:
    """Raise UnsupportedError unless this user may load programs and see all sockets."""
    if os.geteuid() != 0:
        raise UnsupportedError(
            "needs root, to load programs into the kernel and to see all processes: sudo sockbpf …"
        )


def load_probes(config: Config, counters: Counters) -> Probes:
    """Compile the probes; nothing is attached yet. Raise UnsupportedError."""
    if config.kernel.hooks == "none":
        raise UnsupportedError("the configuration says so: kernel > hooks: none")
    kinds = KINDS[config.kernel.hooks]
    if not has_kprobes():
        log.info("no kprobes: this kernel has none (CONFIG_KPROBE_EVENTS)")
        kinds -= KPROBES
        if not kinds:
            raise UnsupportedError("the configuration asks for kprobes alone. Remedy: kernel > hooks: auto")
    if not config.kernel.risk_panic:
        refuse_if_it_can_panic()
    targets = {hook.target for row in SEEN.values() for candidate in row for hook in candidate.hooks}
    stale = sweep_stale_kprobes(targets)
    if stale:
        log.info("removed what a killed process had left in kprobe_events: %s", ", ".join(stale))
    return Probes(
        kinds=kinds,
        types=config.kernel.types,
        perf_pages=config.kernel.perf_pages,
        max_episodes=config.kernel.max_episodes,
        counters=counters,
    )


def log_sight(sight: Sight) -> None:
    """Log how one thing is seen on this kernel."""
    for refused in sight.refused:
        log.debug("%s: %s", sight.thing, refused)
    if sight.candidate is None:
        log.warning("%s: no hook can be attached, the sweeps alone see it", sight.thing)
    else:
        hooks = " + ".join(str(hook) for hook in sight.candidate.hooks) or "no hook"
        unseen = f"; unseen: {sight.candidate.unseen}" if sight.candidate.unseen else ""
        log.info("%s: %s%s", sight.thing, hooks, unseen)
