# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The watch of listeners with its look and its judge, as the settings want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.kernel.look.listening import ListenerLook
from sockbpf.monitor.terms import listener_settings_of, listeners_each_s
from sockbpf.monitor.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.listeners import Listeners
    from sockbpf.record.listening import ListenLook
    from sockbpf.settings.config import Config


@dataclass(frozen=True)
class Listening:
    """What looks at the listeners, how often, and what judges them."""

    look: ListenerLook
    watch: Watch[ListenLook]
    judge: Listeners

    @classmethod
    def begin(
        cls, config: Config, judge: Listeners, on_seen: Callable[[], None], counters: Counters
    ) -> Listening:
        """Begin to look; `on_seen` is called after each look. Raise NoThreadError."""
        look = ListenerLook(wanted=bool(config.listeners.backlog))
        interval_s = listeners_each_s(config)
        watch = Watch("listeners", look, judge, interval_s, on_seen=on_seen, counters=counters)
        return cls(look, watch, judge)

    def use(self, config: Config) -> None:
        """Use these settings from now on."""
        self.look.wanted = bool(config.listeners.backlog)
        self.watch.interval_s = listeners_each_s(config)
        self.judge.use_settings(listener_settings_of(config))
