# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Advice for one service: what was seen and told of it, what else would have told, what to set. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockbpf.judge.advice import S, looks_of, replay, times_of
from sockbpf.judge.advice_proposal import Proposal, ladder, propose, spread_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sockbpf.judge.advice import Told
    from sockbpf.judge.advice_known import Known
    from sockbpf.judge.advice_proposal import Rung, Spread
    from sockbpf.judge.levels import Levels
    from sockbpf.record.history import Series


@dataclass(frozen=True)
class Terms:
    """By what a service is judged now, as far as advice needs it."""

    present: Levels
    clear_ratio: float
    flapping: tuple[int, float]
    """A queue may flap that was told of more often than this within so many seconds; 0: never."""


@dataclass(frozen=True)
class Advice:
    """What was seen and told of one service, what else would have been, and what is proposed."""

    series: Series
    size: Spread
    fill: Spread
    busy_s: int
    """How long its queues were not all empty."""
    times: int
    """How often it was told."""
    by_looks: int
    """How often the present levels would have told of its size, if each look shows what was until the next."""
    rungs: Sequence[Rung]
    proposal: Proposal


def advice_for(
    series: Series, known: Known, grain_s: int, terms: Terms | str, hour_of: Callable[[float], int]
) -> Advice:
    """Return the advice for a service; `terms` in words where there are none, and so is nothing to advise.

    `grain_s` is the time from one look to the next, seconds; `hour_of` returns the hour of the day of a Unix time.
    """
    samples, told = known.samples.get(series, {}), known.told.get(series, [])
    rungs: list[Rung] = []
    by_looks = 0
    if isinstance(terms, str):
        proposal = Proposal(f"not advised: {terms}")
    elif (series.protocol, series.type) in known.unnamed:
        proposal = Proposal("not advised: folded alerts name no unit, and may be of it")
    elif not known.is_whole:
        proposal = Proposal("not advised: more was told than is read: ask for a shorter time")
    else:
        told = flaps_marked(told, *terms.flapping)
        looks = looks_of({at_s: sample.size for at_s, sample in samples.items()}, grain_s)
        rungs = ladder(terms.present, terms.clear_ratio, told, looks)
        by_looks = len(replay(looks, terms.present))
        proposal = propose(terms.present, rungs, told, looks, hour_of)
    return Advice(
        series=series,
        size=spread_of(sample.size for sample in samples.values()),
        fill=spread_of(sample.fill for sample in samples.values()),
        busy_s=len({at_s // grain_s for at_s in samples}) * grain_s,
        times=len(times_of([*told, *known.others.get(series, [])])),
        by_looks=by_looks,
        rungs=rungs,
        proposal=proposal,
    )


def flaps_marked(told: Sequence[Told], above: int, window_s: float) -> list[Told]:
    """Return the episodes in order, with those marked that may be flaps: so many were told shortly before them."""
    marked = sorted(told)
    # Each has two alerts; a flap begins where its own, and one more, would be too many.
    before = (above - 1) // 2
    for place in range(before if above else len(marked), len(marked)):
        earlier = marked[place - before]
        if not before or marked[place].start_s - earlier.end_s <= window_s:
            marked[place] = marked[place]._replace(is_joined=True)
    return marked


def shown_advice(advice: Advice) -> dict[str, Any]:
    """Return it as JSON has it, without its series."""
    proposal = advice.proposal
    return {
        "size": advice.size._asdict(),
        "fill": advice.fill._asdict(),
        "busy_s": advice.busy_s,
        "told": advice.times,
        "by_looks": advice.by_looks,
        "tried": [_shown_rung(rung) for rung in advice.rungs],
        "proposal": _shown_rung(proposal.rung) if proposal.rung else None,
        "process": proposal.process or None,
        "reason": proposal.reason,
    }


def _shown_rung(rung: Rung) -> dict[str, Any]:
    """Return the levels that were tried and what they would have told; `hold` in seconds."""
    its, found = rung.levels, rung.count
    return {
        "threshold": its.threshold,
        "hold": its.hold_ns / S,
        **found._asdict(),
        "exact": found.is_exact,
    }
