# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A change of settings while the monitor runs: all of the new ones are taken, or all of the old ones are kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sockbpf.kernel.look.buffers import buffers, out_of_reach
from sockbpf.monitor.terms import settings_of, thresholds_of, timing_of
from sockbpf.process.clock import monotonic_s
from sockbpf.process.life import passing
from sockbpf.settings.at_start import taken
from sockbpf.settings.fields import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.policy import Policy
    from sockbpf.judge.stages import Stages
    from sockbpf.monitor.dispatch import Dispatch
    from sockbpf.monitor.history import History
    from sockbpf.monitor.listening import Listening
    from sockbpf.monitor.naming import Naming
    from sockbpf.monitor.rates import RateWatch
    from sockbpf.monitor.rules import Rules
    from sockbpf.monitor.schedule import Schedule
    from sockbpf.monitor.store_child import StoreProcess
    from sockbpf.settings.config import Config

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class Reload:
    """Gives new settings to the parts of the monitor; all parts were made with the settings in `config`."""

    config: Config
    """The settings that apply."""
    reread: Callable[[], Config]
    """Returns the settings as the file has them now, or raises ConfigError."""
    counters: Counters
    rules: Rules
    policy: Policy
    listening: Listening
    stages: Stages
    schedule: Schedule
    is_blind: bool
    """Whether some change of a queue is seen by no hook, so that sweeps must find it."""
    dispatch: Dispatch
    store: StoreProcess
    rates: RateWatch
    naming: Naming
    history: History
    wanted: bool = False
    """Whether the settings are to be read again; a signal handler may set it."""
    _is_wait_logged: bool = field(default=False, init=False)

    def take_wanted(self) -> None:
        """Take the settings as the file has them now, if that is wanted and need not wait."""
        if self.wanted and not self._must_wait():
            self.wanted = False
            self._take()

    def _must_wait(self) -> bool:
        """Tell whether new settings must wait until requests by earlier settings, which hold threads, have ended."""
        must = self.dispatch.is_busy()
        if must and not self._is_wait_logged:
            log.warning("the settings are read again once earlier requests that hang have ended")
        self._is_wait_logged = must
        return must

    def _take(self) -> None:
        apply: Callable[[], None] | None = None
        with passing(self.counters, "reload_failed", "the settings are kept, the new ones cannot be taken"):
            apply = self._ready_for(self.reread())
        if apply is not None:
            apply()

    def _ready_for(self, written: Config) -> Callable[[], None]:
        """Make everything ready for new settings, and return the function that applies them."""
        config, not_taken = taken(self.config, written)
        self.dispatch.rehearse(config)
        self.naming.prepare(config.owner.containers)
        try:
            self.rules.use(config)
            self.store.start_if_wanted(config)
            self.history.start_if_wanted(config)
            deliver = self.dispatch.reload(config)
        except BaseException:
            self.rules.use(self.config)
            raise
        return partial(self._apply, config, deliver, not_taken)

    def _apply(self, config: Config, deliver: Callable[[], None], not_taken: list[str]) -> None:
        deliver()
        self.history.use(config)
        self.config = config
        self.policy.use_levels(self.rules.levels_of)
        self.listening.use(config)
        self.stages.change(settings_of(config))
        self.rates.use(config)
        self.naming.use(cmdline=config.owner.cmdline, containers=config.owner.containers)
        # A sweep at once finds what is over by the new thresholds.
        self.schedule.use_timing(timing_of(config, is_blind=self.is_blind), monotonic_s())
        logging.getLogger().setLevel(config.log.upper())
        if not_taken:
            log.warning("not taken over before the next start: %s", ", ".join(not_taken))
        self.log_thresholds("new settings")

    def log_thresholds(self, occasion: str) -> None:
        """Log the thresholds that apply, and those that no queue of this host can reach."""
        thresholds = self.config.thresholds
        send, recv = written(thresholds.send), written(thresholds.recv)
        levels = (occasion, send, recv, self.config.hold_s, len(self.config.rules))
        log.info("%s: thresholds send %s, recv %s, hold %g s; rules: %d", *levels)
        for sentence in out_of_reach(thresholds_of(self.config), buffers()):
            log.warning("%s", sentence)
