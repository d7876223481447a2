# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an earlier run told and did not end: the judges go on with what is still over, the rest has ended."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sockbpf.judge.episodes import left_key
from sockbpf.record.event import Direction
from sockbpf.record.facts import Condition, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.judge.episodes import Episodes
    from sockbpf.record.alert import Notice
    from sockbpf.record.left import Left


class LeftOpen:
    """The episodes of an earlier run until the first looks of this one are done."""

    def __init__(
        self,
        lefts: Iterable[Left],
        boot: str,
        episodes_of: Callable[[Left], Episodes | None],
        stalls_ns: int,
    ) -> None:
        """Give the judges what they may go on with; `episodes_of` returns where such an episode would be, if any.

        An episode of an earlier boot has ended with it, as its sockets have. That a queue is stalled is found again
        `stalls_ns` after the first looks at the latest; all else by them.
        """
        self._stalls_ns = stalls_ns
        self._armed_ns: int | None = None
        self._boot = boot
        self._ended: list[Left] = []
        self._waiting: list[tuple[Episodes, tuple[object, ...], Left]] = []
        for left in lefts:
            home = episodes_of(left) if left.boot == boot and not left.is_fold else None
            if home is None:
                self._ended.append(left)
                continue
            key = left_key(left.socket, Direction(left.direction), Severity(left.severity))
            if (before := home.left.get(key)) is not None:  # two of one queue: the one told last goes on
                self._ended.append(before)
            home.left[key] = left
            self._waiting.append((home, key, left))

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
        later: list[tuple[Episodes, tuple[object, ...], Left]] = []
        for home, key, left in self._waiting:
            if home.left.get(key) is not left:
                continue  # gone on with
            if self._is_stalled(left) and now_ns < self._armed_ns + self._stalls_ns:
                later.append((home, key, left))
            else:
                del home.left[key]
                self._ended.append(left)
        ended, self._ended, self._waiting = self._ended, [], later
        return [
            left.ended(self._boot, now_ns, unix_ns, self._reason(left, now_ns + unix_ns)) for left in ended
        ]

    @staticmethod
    def _is_stalled(left: Left) -> bool:
        return left.condition == Condition.STALLED.value

    def _reason(self, left: Left, now_unix_ns: int) -> str:
        told, now = (_clock(ns) for ns in (left.told_ns + left.unix_ns, now_unix_ns))
        if left.boot != self._boot:
            return f"it ended with the boot of the host, between {told} and {now}"
        if left.is_fold:
            return f"one alert for several sockets, told until {told}: what of it is over is told anew"
        return f"it ended between {told} and {now}, while no monitor watched"


def _clock(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns // 10**9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
