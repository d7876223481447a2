# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is advised for a service: which threshold, hold or rule, and why. Pure."""

from __future__ import annotations

import math
from collections import Counter as Tally
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from sockbpf.judge.advice import S, count, replay, times_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sockbpf.judge.advice import Count, Looks, Told
    from sockbpf.judge.levels import Levels

LEAST, MOST = 4 * 2**10, 2**31 - 1
"""Bytes; no queue holds more than the latter."""
POWERS = (*(2**power for power in range(12, 31)), MOST)
HOLDS_S = (30, 60, 300)
LOW_HOLD_S = 30
"""So long a queue must be over a lower threshold: what is shorter, looks of each 10 s do not bound."""
MOST_TIMES = 3
"""What is told no more often than this is left as it is."""
MARGIN = 1.25
"""A rule for a process is over its highest peak by so much at least: the next one may be higher."""
FAR = 4
"""A threshold that is so many times the largest queue is far from all that was seen."""
MOST_HOURS, MOST_OF_ALL, LEAST_DAYS = 4, 0.8, 3


class Spread(NamedTuple):
    """Of the looks that found something: what half of them, and 99 % of them, did not exceed; the greatest."""

    p50: int
    p99: int
    top: int


@dataclass(frozen=True)
class Rung:
    """Levels that were tried, and what they would have told."""

    levels: Levels
    count: Count


@dataclass(frozen=True)
class Proposal:
    """What to set for a service: None, where it stays as it is. `process` narrows the rule to that name."""

    reason: str
    rung: Rung | None = None
    process: str = ""


def spread_of(values: Iterable[int]) -> Spread:
    """Return the spread of these values; zeros, if there is none."""
    ordered = sorted(values)
    if not ordered:
        return Spread(0, 0, 0)
    return Spread(*(ordered[max(0, math.ceil(len(ordered) * part) - 1)] for part in (0.5, 0.99, 1)))


def ladder(present: Levels, clear_ratio: float, told: Sequence[Told], looks: Looks) -> list[Rung]:
    """Return what was tried: powers of two and what was seen, the lower ones held; the present one held longer."""
    largest = max([present.threshold, *looks.sizes.values(), *(each.peak for each in told)])
    spread = spread_of(looks.sizes.values())
    enough = next((each for each in POWERS if each >= MARGIN * largest), MOST)
    quantiles = (max(LEAST, -(-value // 1024) * 1024) for value in spread if value)
    tried = [present]
    low_hold_ns = max(present.hold_ns, LOW_HOLD_S * S, 3 * looks.grain_s * S)
    powers = [each for each in POWERS if each <= enough]
    for threshold in sorted({min(each, MOST) for each in (*powers, *quantiles)} - {present.threshold}):
        hold_ns = present.hold_ns if threshold > present.threshold else low_hold_ns
        tried.append(
            replace(present, threshold=threshold, clear=int(threshold * clear_ratio), hold_ns=hold_ns)
        )
    tried += [replace(present, hold_ns=hold_s * S) for hold_s in HOLDS_S if hold_s * S > present.hold_ns]
    rungs = [Rung(each, count(each, present, told, looks)) for each in tried]
    return sorted(rungs, key=lambda rung: (rung.levels.threshold, rung.levels.hold_ns))


def regular_hours(starts: Sequence[float], hour_of: Callable[[float], int]) -> tuple[int, int] | None:
    """Return the hours of the day between which most of it began, if there are such: first and last, on the clock."""
    days = {start // 86_400 for start in starts}
    if len(days) < LEAST_DAYS:
        return None
    by_hour = Tally(map(hour_of, starts))
    for length in range(1, MOST_HOURS + 1):
        held = {first: sum(by_hour[(first + more) % 24] for more in range(length)) for first in range(24)}
        first = max(held, key=lambda each: held[each])
        if held[first] >= MOST_OF_ALL * len(starts):
            return first, (first + length) % 24
    return None


def propose(
    present: Levels,
    rungs: Sequence[Rung],
    told: Sequence[Told],
    looks: Looks,
    hour_of: Callable[[float], int],
) -> Proposal:
    """Return what to set, with the reason; `rungs` are those of `ladder`."""
    times = times_of(told)
    now = next(rung for rung in rungs if rung.levels == present)
    # What was seen itself is no threshold with a margin.
    rungs = [each for each in rungs if each.levels.threshold in {present.threshold, *POWERS}]
    if len(times) > MOST_TIMES:
        return _for_one_process(times, rungs, hour_of) or _quieter(now, rungs, times, hour_of)
    largest = max(looks.sizes.values(), default=0)
    if not times and largest and FAR * largest <= present.threshold:
        return _closer(now, rungs, looks, hour_of)
    return Proposal(f"{said(now)}: it stays")


def _quieter(
    now: Rung, rungs: Sequence[Rung], times: Sequence[Sequence[Told]], hour_of: Callable[[float], int]
) -> Proposal:
    """Propose a longer hold or a higher threshold, the one that changes least."""
    present = now.levels
    longer = [rung for rung in rungs if rung.levels.threshold == present.threshold and rung != now]
    higher = [rung for rung in rungs if rung.levels.threshold > present.threshold]
    when = _when([time[0].start_s for time in times], hour_of)
    for rung in (*longer, *higher):
        if rung.count.most is not None and rung.count.most <= MOST_TIMES:
            return Proposal(f"{said(now)}{when}, {said(rung, would=True)}", rung)
    return Proposal(f"{said(now)}{when}; nothing that was tried is sure to tell {MOST_TIMES} times at most")


def _for_one_process(
    times: Sequence[Sequence[Told]], rungs: Sequence[Rung], hour_of: Callable[[float], int]
) -> Proposal | None:
    """Propose a rule for a process that is told of at the same hours each day, and is alone what these have."""
    hours = regular_hours([time[0].start_s for time in times], hour_of)
    comms = Tally(each.comm for time in times for each in time)
    comm, _ = comms.most_common(1)[0]
    if not hours or not comm:
        return None
    its = [time for time in times if all(each.comm == comm for each in time)]
    others = len(times) - len(its)
    peak = max((each.peak for time in times for each in time if each.comm == comm), default=0)
    enough = [rung for rung in rungs if rung.levels.threshold >= MARGIN * peak]
    grown = sum(not all(each.is_whole for each in time) for time in its)
    if not enough or others + grown > MOST_TIMES or len(its) < MOST_OF_ALL * len(times):
        return None
    rung = Rung(enough[0].levels, enough[0].count._replace(least=others, seen=others, most=others + grown))
    reason = (
        f"told {_times(len(times))}, {len(its)} of them of {comm}, {_between(hours)}: a rule for it, "
        f"{size(rung.levels.threshold)}, would have left {others or 'none'}"
    )
    return Proposal(reason, rung, comm)


def _closer(now: Rung, rungs: Sequence[Rung], looks: Looks, hour_of: Callable[[float], int]) -> Proposal:
    """Propose the lowest threshold that what was seen does not exceed."""
    lower = [rung for rung in rungs if rung.levels.threshold < now.levels.threshold]
    quiet = next((rung for rung in lower if rung.count.most == 0), None)
    if quiet is None:
        return Proposal(f"{said(now)}: it stays")
    louder = [rung for rung in lower if rung.levels.threshold < quiet.levels.threshold and rung.count.seen]
    beside = ""
    if louder:
        when = _when(replay(looks, louder[-1].levels), hour_of)
        beside = f", {said(louder[-1], would=True)}{when}"
    return Proposal(f"{said(now)}, {said(quiet, would=True)}{beside}", quiet)


def _when(starts: Sequence[float], hour_of: Callable[[float], int]) -> str:
    hours = regular_hours(starts, hour_of)
    return f", most of them {_between(hours)}" if hours else ""


def _between(hours: tuple[int, int]) -> str:
    return f"between {hours[0]:02}:00 and {hours[1]:02}:00"


def said(rung: Rung, *, would: bool = False) -> str:
    """Return what levels told, or would have, in words."""
    held = f" for {rung.levels.hold_ns / S:g} s" if rung.levels.hold_ns else ""
    if rung.count.most == 0:
        words = "would never have told" if would else "never told"
    else:
        words = f"{'would have told' if would else 'told'} {in_words(rung.count)}"
    return f"{size(rung.levels.threshold)}{held} {words}"


def in_words(found: Count) -> str:
    """Return a count with its bounds."""
    if found.is_exact:
        return _times(found.least)
    about = f"about {_times(found.seen)}" if found.seen else "never that a look shows"
    most = "perhaps more" if found.most is None else f"at most {found.most}"
    return f"{about} ({found.least} at least, {most})"


def _times(number: int) -> str:
    return "never" if not number else "once" if number == 1 else f"{number} times"


def size(amount: int) -> str:
    """Return bytes as settings write them."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= length and not amount % length:
            return f"{amount // length}{unit}"
    return str(amount)
