# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From what is noticed to what is told: the stages between the policy and the alerts, in their order.

Pure: no I/O, the clock is given. A flapping queue is counted, a storm of one service is folded as the settings say,
and what one service, or one user, may have told in a while is bounded whatever they say, unless they have everything
told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.judge.flapping import Flapping
from sockbpf.judge.fold import Fold, service_of, user_of
from sockbpf.record.alert import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters
    from sockbpf.record.alert import Folded

SECOND_NS = 10**9

BOUNDS = ((service_of, 20_000, 20 * SECOND_NS), (user_of, 1_000, 20 * SECOND_NS))
"""Whose crossings, so many in so many nanoseconds, are told one by one; more are folded, a second at a time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator says of it; nanoseconds. `flapping_above` or `fold_above` 0: never."""

    events: frozenset[str]
    repeat_ns: int
    flapping_above: int
    flapping_window_ns: int
    fold_above: int
    fold_window_ns: int


class Stages:
    """All stages. Notices go in, what is to be told comes out, at once or when it is due."""

    def __init__(self, settings: Settings, counters: Counters, is_open: Callable[[str], bool]) -> None:
        """Begin with nothing collected; `is_open` says of an episode's id whether it goes on."""
        self._flapping = Flapping(0, 1, 1, counters)

        def goes_on(id_: str) -> bool:
            return is_open(id_) or self._flapping.is_open(id_)

        self._fold = Fold(0, 1, counters=counters, is_open=goes_on)
        self._bounds = [
            Fold(
                0,
                window_ns,
                counters=counters,
                is_open=goes_on,
                group_of=group_of,
                collect_ns=SECOND_NS,
            )
            for group_of, _, window_ns in BOUNDS
        ]
        self.change(settings)

    def change(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._events = settings.events
        self._flapping.above = settings.flapping_above
        self._flapping.window_ns = settings.flapping_window_ns
        self._flapping.repeat_ns = settings.repeat_ns
        self._fold.above = settings.fold_above
        self._fold.window_ns = settings.fold_window_ns
        for stage, (_, above, _) in zip(self._bounds, BOUNDS, strict=True):
            stage.above = above if settings.flapping_above else 0

    def on_notices(self, notices: Iterable[Notice], now_ns: int) -> list[Notice | Folded]:
        """Return what is to be told now."""
        return self._folded(self._flapping.on_notices(notices, now_ns), now_ns)

    def on_time(self, now_ns: int) -> list[Notice | Folded]:
        """Return what is due by now. All notices must have been handed over."""
        passed_on = self._folded(self._flapping.on_time(now_ns), now_ns)
        for stage in self._folds:
            passed_on += self._wanted(stage.on_time(now_ns))
        return passed_on

    def next_due_ns(self) -> int | None:
        """Return when `on_time` is wanted; None if nothing waits."""
        due = [self._flapping.next_due_ns(), *(stage.next_due_ns() for stage in self._folds)]
        return min((ns for ns in due if ns is not None), default=None)

    def flush(self, now_ns: int) -> list[Notice | Folded]:
        """Return all that waits and can be told, without waiting."""
        passed_on = self._folded(self._flapping.flush(), now_ns)
        for stage in self._folds:
            passed_on += self._wanted(stage.flush())
        return passed_on

    @property
    def _folds(self) -> tuple[Fold, ...]:
        return (self._fold, *self._bounds)

    def _folded(self, notices: Iterable[Notice | Folded], now_ns: int) -> list[Notice | Folded]:
        passed_on = list(notices)
        for stage in self._folds:
            passed_on = stage.on_notices(passed_on, now_ns)
        return self._wanted(passed_on)

    def _wanted(self, notices: Iterable[Notice | Folded]) -> list[Notice | Folded]:
        return [
            one for one in notices if (one if isinstance(one, Notice) else one.notice).event in self._events
        ]
