# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How often other thresholds and holds would have told of a service, by its history and by what was told. Pure.

What is counted are times: of queues of the service that were over together it was told once, and what crosses again
within the same alert counts once. A bound holds whatever happened between two looks.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sockbpf.counters import Counters
from sockbpf.judge.episodes import Episode, Episodes
from sockbpf.record.alert import EXCEEDED
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import UNKNOWN
from sockbpf.record.history import STEP_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sockbpf.judge.levels import Levels

S = 10**9
FOREVER_NS = 2**62
EXACT_S = 1e-6
"""No Unix time is kept more exactly."""
RAREST_S = 300
"""Looks are taken this often at least, whatever the gaps between samples."""
QUEUE = ("a service",)
ANY = Socket(Protocol.TCP, "", 0, "", 0, 0, 0)


class Told(NamedTuple):
    """An episode that was told: from when to when, Unix time; its highest size and its threshold, bytes."""

    start_s: float
    end_s: float
    peak: int
    threshold: int
    comm: str = ""
    is_whole: bool = True
    """Whether its end was told: else it may have lasted longer, and grown."""
    is_joined: bool = False
    """Whether it stands for several queues, or several crossings of one: none of them need have lasted so long."""


class Count(NamedTuple):
    """How many times would have been told: at least, by the looks alone, at most (None: nothing bounds it)."""

    least: int
    seen: int
    most: int | None

    @property
    def is_exact(self) -> bool:
        return self.least == self.most


@dataclass(frozen=True)
class Looks:
    """The largest queue of a service at each look, bytes, by the number of its step of `grain_s` seconds.

    A step without one is one in which all its queues were empty.
    """

    grain_s: int
    sizes: Mapping[int, int]

    def in_time(self) -> Iterator[tuple[int, int]]:
        """Yield Unix time and size of each look, in order, with an empty one behind all that is followed by none."""
        before = None
        for step in sorted(self.sizes):
            if before is not None and step > before + 1:
                yield (before + 1) * self.grain_s, 0
            yield step * self.grain_s, self.sizes[step]
            before = step
        if before is not None:
            yield (before + 1) * self.grain_s, 0


def grain_of(times: Iterable[Sequence[int]]) -> int:
    """Return how many seconds are between two looks at a host, by the times of the samples of each of its series."""
    usual = []
    for each in times:
        apart = Tally(later - earlier for earlier, later in pairwise(each))
        if apart:
            usual.append(min(apart, key=lambda length: (-apart[length], length)))
    return max(STEP_S, min([*usual, RAREST_S])) if usual else STEP_S


def looks_of(sizes: Mapping[int, int], grain_s: int) -> Looks:
    """Return the looks that these samples are of, size by Unix time."""
    found: dict[int, int] = {}
    for at_s, size in sizes.items():
        found[at_s // grain_s] = max(found.get(at_s // grain_s, 0), size)
    return Looks(grain_s, found)


def times_of(told: Iterable[Told]) -> list[list[Told]]:
    """Return the episodes of each time, those that were told of together, in order."""
    times: list[list[Told]] = []
    end_s = 0.0
    for each in sorted(told):
        if times and each.start_s <= end_s:
            times[-1].append(each)
        else:
            times.append([each])
            end_s = each.end_s
        end_s = max(end_s, each.end_s)
    return times


def replay(looks: Looks, levels: Levels) -> list[int]:
    """Return when what would have been told began, Unix time, if each look shows what was until the next."""
    judge = Episodes(Counters(), "", lambda _: (0, ""))
    levels = replace(levels, repeat_ns=FOREVER_NS)
    starts: list[int] = []
    for at_s, size in looks.in_time():
        is_open = QUEUE in judge.open
        if not (levels.is_back(size, UNKNOWN) if is_open else levels.is_over(size, UNKNOWN)):
            continue  # what is due meanwhile is due at its end too
        ns = at_s * S
        notices = judge.due(ns)
        notices += judge.end(QUEUE, size, ns) if is_open else judge.begin(QUEUE, _episode(ns, size, levels))
        starts += [notice.since_ns // S for notice in notices if notice.event == EXCEEDED]
    return starts


def count(levels: Levels, present: Levels, told: Sequence[Told], looks: Looks) -> Count:
    """Return how often other levels would have told, where `told` is what the present ones did."""
    least, most = _proven(levels, told, looks), _possible(levels, looks)
    thresholds = {present.threshold, *(each.threshold for each in told)}
    is_within = (
        levels.threshold >= max(thresholds)
        and levels.clear >= present.clear
        and levels.hold_ns >= present.hold_ns
    )
    if is_within:  # whatever these tell lies within what was told
        is_told = thresholds == {levels.threshold} and levels.hold_ns == present.hold_ns
        times = times_of(told)
        fits = sum(any(_may_tell(each, levels) for each in time) for time in times)
        sure = sum(any(is_told or _surely_tells(each, levels) for each in time) for time in times)
        least = min(max(least, sure), fits)
        most = fits if most is None or most < least else min(fits, most)
        if is_told:
            most = least = fits
    if most is not None and most < least:
        most = None  # samples of what was told are lost
    seen = max(least, len(replay(looks, levels)))
    return Count(least, seen if most is None else min(seen, most), most)


def _may_tell(each: Told, levels: Levels) -> bool:
    """Tell whether an episode that was told can have one of these levels within."""
    return not each.is_whole or (each.peak > levels.threshold and _lasts(each, levels))


def _surely_tells(each: Told, levels: Levels) -> bool:
    """Tell whether an episode that was told has one of these levels within."""
    lasts = each.threshold == levels.threshold and _lasts(each, levels) and not each.is_joined
    return each.peak > levels.threshold and (not levels.hold_ns or lasts)


def _lasts(each: Told, levels: Levels) -> bool:
    return each.end_s - each.start_s + EXACT_S >= levels.hold_ns / S


def _proven(levels: Levels, told: Iterable[Told], looks: Looks) -> int:
    """Return how many times are certain: what shows one, with a look between each and the next that shows its end."""
    shown: list[tuple[float, float]] = [
        (each.start_s, each.end_s)
        for each in told
        if (each.threshold >= levels.threshold and not each.is_joined and _lasts(each, levels))
        or (not levels.hold_ns and each.peak > levels.threshold)
    ]
    grain_s = looks.grain_s
    if not levels.hold_ns:
        shown += [
            (step * grain_s, (step + 1) * grain_s)
            for step, size in looks.sizes.items()
            if size > levels.threshold
        ]
    number, end_s = 0, 0.0
    for start, end in sorted(shown):
        if not number or _ends_between(looks, levels, end_s, start):
            number, end_s = number + 1, end
        end_s = max(end_s, end)
    return number


def _ends_between(looks: Looks, levels: Levels, from_s: float, to_s: float) -> bool:
    """Tell whether a whole step between two times has all queues at the clear level or below."""
    first, last = -int(-from_s // looks.grain_s), int(to_s // looks.grain_s)
    return any(looks.sizes.get(step, 0) <= levels.clear for step in range(first, last))


def _possible(levels: Levels, looks: Looks) -> int | None:
    """Return how many times there can be at most: each fills the steps within its hold."""
    filled = levels.hold_ns // (looks.grain_s * S) - 1  # the first and the last may be filled in part
    if filled < 1:
        return None
    most, run, before = 0, 0, None
    for step in sorted(looks.sizes):
        if looks.sizes[step] <= levels.clear:
            continue
        if before is not None and step > before + 1:
            most, run = most + run // filled, 0
        run, before = run + 1, step
    return most + run // filled


def _episode(ns: int, size: int, levels: Levels) -> Episode:
    return Episode(
        socket=ANY,
        direction=Direction.SEND,
        mode=Mode.POLL,
        address=0,
        since_ns=ns,
        ns=ns,
        size=size,
        peak=size,
        threshold=levels.threshold,
        levels=levels,
    )
