# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an earlier run told and did not end: the judges go on with what is still over, the rest has ended."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

from sockbpf.judge.episodes import left_key
from sockbpf.record.event import Direction
from sockbpf.record.facts import Condition, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sockbpf.record.alert import Notice
    from sockbpf.record.left import Left

RATE_NS = 10 * 10**9
"""So much longer than the time it is for a rate may take to be seen again: looks are a second apart, or more."""


class Home(Protocol):
    """A judge's part that may go on with episodes of an earlier run."""

    @property
    def left(self) -> dict[tuple[object, ...], Left]:
        """What it may go on with: it takes out what it has gone on with."""


class LeftOpen:
    """The episodes of an earlier run until the first looks of this one are done."""

    def __init__(
        self,
        lefts: Collection[Left],
        boot: str,
        home_of: Callable[[Left], Home],
        stalls_ns: int,
    ) -> None:
        """Give the judges what they may go on with; `home_of` returns where such an episode would be.

        An episode of an earlier boot has ended with it, as its sockets have. That a listener is stalled is found
        again `stalls_ns` after the first looks at the latest, a rate after the time it is for, all else by them.
        """
        self._stalls_ns = stalls_ns
        self._armed_ns: int | None = None
        self._boot = boot
        self._ended: list[Left] = []
        self._waiting: list[tuple[Home, tuple[object, ...], Left]] = []
        self._folds: dict[str, tuple[Left, list[str]]] = {}
        of_boot = [left for left in lefts if left.boot == boot]
        self._ended += [left for left in lefts if left.boot != boot and not left.fold]
        self._set_up(of_boot, home_of)
        self._ids = {left.id for _, _, left in self._waiting}

    def _set_up(self, lefts: list[Left], home_of: Callable[[Left], Home]) -> None:
        folds = {left.fold for left in lefts}
        for left in lefts:
            if not left.is_fold:
                continue
            if left.id in folds:
                self._folds[left.id] = (left, [])
            else:
                self._ended.append(left)
        for left in lefts:
            if not left.is_fold:
                self._wait(home_of(left), left)

    def _wait(self, home: Home, left: Left) -> None:
        key = _key(left)
        if (before := home.left.get(key)) is not None:  # two of one queue: the one told last goes on
            self._ended.append(before)
        home.left[key] = left
        self._waiting.append((home, key, left))
        if left.fold in self._folds:
            self._folds[left.fold][1].append(left.id)

    def folds(self) -> list[tuple[Left, list[str]]]:
        """Return the alerts of an earlier run that stand for several sockets, each with the ids of these."""
        return list(self._folds.values())

    def is_waiting(self, id_: str) -> bool:
        """Tell whether it is not known yet whether this episode goes on."""
        return id_ in self._ids

    def __bool__(self) -> bool:
        """Tell whether there is something of which is not known yet whether it goes on."""
        return bool(self._waiting or self._ended)

    def arm(self, now_ns: int) -> None:
        """Take note that all first looks are done."""
        self._armed_ns = now_ns

    def ended(self, now_ns: int, unix_ns: int) -> list[Notice]:
        """Return the ends of what the judges did not find again in time, each once.

        `now_ns` is CLOCK_MONOTONIC, `unix_ns` what is to be added for Unix time.
        """
        if self._armed_ns is None:
            return []
        later: list[tuple[Home, tuple[object, ...], Left]] = []
        for home, key, left in self._waiting:
            if home.left.get(key) is not left:
                continue  # gone on with
            if now_ns < self._armed_ns + self._patience_ns(left):
                later.append((home, key, left))
            else:
                del home.left[key]
                self._ended.append(left)
        ended, self._ended, self._waiting = self._ended, [], later
        self._ids = {left.id for _, _, left in later}
        return [
            left.ended(self._boot, now_ns, unix_ns, self._reason(left, now_ns + unix_ns)) for left in ended
        ]

    def _patience_ns(self, left: Left) -> int:
        """Return how long after the first looks it may be found again."""
        if left.counter:
            return left.seconds * 10**9 + RATE_NS
        is_stalled = left.condition == Condition.STALLED.value
        return self._stalls_ns if is_stalled and left.direction == Direction.ACCEPT else 0

    def _reason(self, left: Left, now_unix_ns: int) -> str:
        told, now = (_clock(ns) for ns in (left.told_ns + left.unix_ns, now_unix_ns))
        if left.boot != self._boot:
            return f"it ended with the boot of the host, between {told} and {now}"
        return f"it ended between {told} and {now}, while no monitor watched"


def _key(left: Left) -> tuple[object, ...]:
    if (socket := left.socket) is None:
        return left.host_counter, Severity(left.severity)
    return left_key(socket, Direction(left.direction), Severity(left.severity))


def _clock(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns // 10**9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
