# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The stages between the policy's notices and the alerts, in their order: flapping, folding, two bounds.

Pure: no I/O, the clock is an argument. The crossings of a flapping queue are counted, a storm of sockets with
something in common is folded, as the settings say. Beyond that a service, and a user, can have only so many single
alerts in a while, whatever the settings say, unless flapping is turned off (`above: 0`), which asks for every alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.judge.flapping import Flapping
from sockbpf.judge.fold import Fold
from sockbpf.judge.storm import service_of, user_of
from sockbpf.record.alert import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters
    from sockbpf.record.alert import Folded
    from sockbpf.record.left import Left

SECOND_NS = 10**9

BOUNDS = ((service_of, 20_000, 20 * SECOND_NS), (user_of, 1_000, 20 * SECOND_NS))
"""Of each group so many crossings within so many nanoseconds pass singly; further ones are folded, each second."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of all stages; nanoseconds. `flapping_above` or `fold_above` 0 turns that stage off."""

    events: frozenset[str]
    repeat_ns: int
    flapping_above: int
    flapping_window_ns: int
    fold_above: int
    fold_window_ns: int


class Stages:
    """All stages. Notices go in; those that become alerts come out, at once or when they are due."""

    def __init__(self, settings: Settings, counters: Counters, is_open: Callable[[str], bool]) -> None:
        """Begin with nothing collected; `is_open` says whether the episode with this id is open."""
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
                groups_of=groups_of,
                collect_ns=SECOND_NS,
            )
            for groups_of, _, window_ns in BOUNDS
        ]
        self.change(settings)

    def change(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._events = settings.events
        self._flapping.above = settings.flapping_above
        self._flapping.window_ns = settings.flapping_window_ns
        self._flapping.repeat_ns = settings.repeat_ns
        self._fold.above = settings.fold_above
        self._fold.window_ns = settings.fold_window_ns
        for stage, (_, above, _) in zip(self._bounds, BOUNDS, strict=True):
            stage.above = above if settings.flapping_above else 0

    def on_notices(self, notices: Iterable[Notice], now_ns: int) -> list[Notice | Folded]:
        """Return the notices that become alerts now."""
        return self._folded(self._flapping.on_notices(notices, now_ns), now_ns)

    def on_time(self, now_ns: int) -> list[Notice | Folded]:
        """Return the notices that are due by now. All notices before must have been given to `on_notices`."""
        passed_on = self._folded(self._flapping.on_time(now_ns), now_ns)
        for stage in self._folds:
            passed_on += self._wanted(stage.on_time(now_ns))
        return passed_on

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called; None if no notice waits."""
        due = [self._flapping.next_due_ns(), *(stage.next_due_ns() for stage in self._folds)]
        return min((ns for ns in due if ns is not None), default=None)

    def take_up(self, storm: Left, members: Iterable[str]) -> None:
        """Go on with a storm that an earlier run told, of the episodes with these ids."""
        self._fold.take_up(storm, members)

    def pass_on(self) -> list[Notice | Folded]:
        """Return what was collected until now, without waiting for a window to end."""
        return [one for stage in self._folds for one in self._wanted(stage.pass_on())]

    def flush(self, now_ns: int) -> list[Notice | Folded]:
        """Return all notices that wait, and the ends of flaps whose queue is back, without waiting for a window."""
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
        return [one for one in notices if self._is_wanted(one if isinstance(one, Notice) else one.notice)]

    def _is_wanted(self, notice: Notice) -> bool:
        events = notice.applied.events
        return notice.event in (self._events if events is None else events)
