# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The watch of listeners with its look and its judge, as the settings want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.judge.listeners import Listeners
from sockbpf.judge.unaccepted import Unaccepted
from sockbpf.kernel.look.listening import ListenerLook
from sockbpf.monitor.terms import listener_settings_of, listeners_each_s, unaccepted_settings_of
from sockbpf.monitor.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import Episodes, OwnerOf
    from sockbpf.record.alert import Notice
    from sockbpf.record.listening import ListenLook
    from sockbpf.settings.config import Config


@dataclass(frozen=True)
class ListenersJudge:
    """Both judges of listeners: of how many wait, and of who waits."""

    queues: Listeners
    unaccepted: Unaccepted

    @classmethod
    def of(cls, config: Config, counters: Counters, salt: str, owner_of: OwnerOf) -> ListenersJudge:
        """Return both as these settings want them."""
        return cls(
            Listeners(listener_settings_of(config), counters, salt, owner_of),
            Unaccepted(unaccepted_settings_of(config), counters, salt, owner_of),
        )

    @property
    def episodes(self) -> tuple[Episodes, ...]:
        """The open episodes of both."""
        return self.queues.episodes, self.unaccepted.episodes

    def on_look(self, seen: ListenLook) -> list[Notice]:
        """Take a look, and return the notices of both."""
        return self.queues.on_look(seen) + self.unaccepted.on_look(seen)

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return the notices that are due by now."""
        return self.queues.on_time(now_ns) + self.unaccepted.on_time(now_ns)

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called; None if nothing is due."""
        due = (self.queues.next_due_ns(), self.unaccepted.next_due_ns())
        return min((ns for ns in due if ns is not None), default=None)

    def is_open(self, id_: str) -> bool:
        """Tell whether the episode with this id is open."""
        return self.queues.is_open(id_) or self.unaccepted.is_open(id_)

    def __len__(self) -> int:
        return len(self.queues) + len(self.unaccepted)


@dataclass(frozen=True)
class Listening:
    """What looks at the listeners, how often, and what judges them."""

    look: ListenerLook
    watch: Watch[ListenLook]
    judge: ListenersJudge

    @classmethod
    def begin(
        cls, config: Config, judge: ListenersJudge, on_seen: Callable[[], None], counters: Counters
    ) -> Listening:
        """Begin to look; `on_seen` is called after each look that shows something. Raise NoThreadError."""
        look = ListenerLook(lambda: judge.unaccepted.wanted, wanted=bool(config.listeners.backlog))

        def tell() -> None:
            if look.wanted or len(judge):
                on_seen()

        interval_s = listeners_each_s(config)
        watch = Watch("listeners", look, judge, interval_s, on_seen=tell, counters=counters)
        return cls(look, watch, judge)

    def use(self, config: Config) -> None:
        """Use these settings from now on."""
        self.look.wanted = bool(config.listeners.backlog)
        self.watch.interval_s = listeners_each_s(config)
        self.judge.queues.use_settings(listener_settings_of(config))
        self.judge.unaccepted.settings = unaccepted_settings_of(config)
