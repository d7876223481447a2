# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`GET /advice`: what was seen and told of one service, and what other thresholds would have told.

The store is not told by which settings a host judges: they are taken to be as they were last told, as they are by
default, or as the request says.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sockbpf.judge.advice import S, grain_of
from sockbpf.judge.advice_known import LONGEST_S, Known
from sockbpf.judge.advice_proposal import MOST, MOST_TIMES, Proposal, size
from sockbpf.judge.advice_service import Terms, advice_for, shown_advice
from sockbpf.judge.levels import levels_by_direction
from sockbpf.record.event import Direction
from sockbpf.record.history import Series
from sockbpf.settings.advised_rule import rule_of, rule_text, why_not
from sockbpf.settings.config import Config, by_default
from sockbpf.store.data.advice_read import looks_at, read_episodes
from sockbpf.store.data.history_find import samples_between
from sockbpf.store.data.values import EntryError, read_seconds, read_time
from sockbpf.store.web.guard import TRUSTED
from sockbpf.store.web.history import LATEST_S, series_names
from sockbpf.store.web.query import given_once, number, parameters

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from starlette.requests import Request

    from sockbpf.judge.advice import Told
    from sockbpf.judge.advice_service import Advice
    from sockbpf.store.web.running_store import RunningStore

WEEK_S = 7 * 86_400.0
"""The time, if its beginning is not said."""
MOST_HOLD_S = 86_400
MOST_OFFSET_S = 86_400
OFFSET = "^-?(0|[1-9][0-9]{0,4})$"
REST = 3
"""So many times as long as one that is not trusted was computed for, the next one waits."""
OWN = ("from", "to", "threshold", "hold", "utc_offset")


@dataclass(frozen=True)
class Asked:
    """Of which service advice is asked, and what the request says of its settings; None where it does not."""

    series: Series
    begin_s: float
    end_s: float
    threshold: int | None
    hold_s: float | None
    ahead_s: int
    """So many seconds the clock, of which hours are told, is ahead of UTC."""


async def advice(store: RunningStore, request: Request) -> Response:
    """Answer `GET /advice`."""
    asked = asked_by(parameters(request.scope), time.time(), store.kept_s)
    is_trusted = bool(request.scope.get(TRUSTED))
    line = store.advising[is_trusted]
    async with line.lock:  # one at a time: each may take seconds of a core
        await asyncio.sleep(line.free_s - time.monotonic())
        known, grain_s = await store.search(lambda connection: read(connection, asked), is_trusted=is_trusted)
        begun_s = time.monotonic()
        body = await store.compute(lambda: _encoded(asked, known, grain_s))
        if not is_trusted:
            line.free_s = time.monotonic() + REST * (time.monotonic() - begun_s)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def asked_by(pairs: list[tuple[str, str]], now_s: float, kept_s: float = math.inf) -> Asked:
    """Return what these parameters ask for, of the last `kept_s` seconds alone; raise EntryError."""
    given = given_once(pairs, {*Series._fields, *OWN})
    names = series_names(given)
    if missing := [name for name in Series._fields if name not in names]:
        raise EntryError(f"{missing[0]}: expected, and not there")
    to_s = min(max(read_time("to", given["to"]) if "to" in given else now_s, 0.0), LATEST_S)
    from_s = read_time("from", given["from"]) if "from" in given else to_s - WEEK_S
    hold_s = read_seconds("hold", given["hold"]) if "hold" in given else None
    if hold_s is not None and hold_s > MOST_HOLD_S:
        raise EntryError(f"hold: expected 0 to {MOST_HOLD_S} seconds")
    return Asked(
        Series(**names),
        min(max(from_s, to_s - LONGEST_S, now_s - kept_s, 0.0), to_s),
        to_s,
        number("threshold", given, None, 0, MOST),
        None if hold_s is None else round(hold_s, 3),
        _offset(given.get("utc_offset", "0")),
    )


def _offset(text: str) -> int:
    if not re.fullmatch(OFFSET, text) or abs(int(text)) > MOST_OFFSET_S:
        raise EntryError(f"utc_offset: expected {-MOST_OFFSET_S} to {MOST_OFFSET_S} seconds")
    return int(text)


def read(connection: Connection, asked: Asked) -> tuple[Known, int]:
    """Return what is known of the service, and the time from one look to the next, seconds. Raise AlteredError."""
    series, known = asked.series, Known.between(asked.begin_s, asked.end_s)
    samples = samples_between(connection, series, known.begin_s, known.end_s)
    known.samples[series] = samples
    known.is_whole = read_episodes(connection, series, known.begin_s, known.end_s, known.add_episode)
    return known, grain_of(looks_at(connection, series.host, samples))


def _encoded(asked: Asked, known: Known, grain_s: int) -> bytes:
    return json.dumps(answer_of(asked, known, grain_s), separators=(",", ":")).encode()


def answer_of(asked: Asked, known: Known, grain_s: int) -> dict[str, Any]:
    """Return the answer, as JSON has it."""
    series = asked.series
    terms, assumed = terms_of(asked, known)
    made = advice_for(series, known, grain_s, terms, lambda at_s: int(at_s + asked.ahead_s) // 3600 % 24)
    made = _unless_disproved(made)
    present = None if isinstance(terms, str) else terms.present
    return {
        "from": known.begin_s,
        "to": known.end_s,
        **series._asdict(),
        **shown_advice(made),
        "present": {"threshold": present.threshold, "hold": present.hold_ns / S} if present else None,
        "assumed": assumed,
        "rule": _rule(made),
    }


def _unless_disproved(made: Advice) -> Advice:
    """Return the advice without what was tried where the looks show that other settings must apply than these."""
    if made.by_looks <= 2 * made.times + (MOST_TIMES if made.times else 0):
        return made
    reason = (
        f"not advised: by the looks these settings would have told {made.by_looks} times, and told {made.times}: "
        "say the threshold and the hold of the host, unless a rule or a silence keeps this quiet"
    )
    return replace(made, rungs=[], proposal=Proposal(reason))


def terms_of(asked: Asked, known: Known) -> tuple[Terms | str, str]:
    """Return by what a service is judged, as far as a store can know, and how it knows, in words.

    Where it does not, return why there is nothing to advise.
    """
    series, usual = asked.series, _usual()
    if why := why_not(series):
        return why, ""
    told = known.told.get(series, [])
    if asked.threshold is None and not told and series in known.of_share:
        return "its threshold is a share of the buffer", ""
    threshold, by = _threshold(asked, told, getattr(usual.thresholds, series.type.lower()))
    hold_s, held = _hold(asked, told, usual, threshold)
    direction = Direction[series.type]
    levels = levels_by_direction(
        {direction: threshold},
        clear_ratio=usual.clear_ratio,
        hold_ns=int(hold_s * S),
        repeat_ns=int(usual.repeat * S),
    )
    terms = Terms(levels[direction], usual.clear_ratio, (usual.flapping.above, usual.flapping.window))
    return terms, f"{size(threshold)}, {by}; {held}"


def _threshold(asked: Asked, told: list[Told], usual: int) -> tuple[int, str]:
    if asked.threshold is not None:
        return asked.threshold, "as asked"
    return (max(told).threshold, "as last told") if told else (usual, "the default, as nothing was told")


def _hold(asked: Asked, told: list[Told], usual: Config, threshold: int) -> tuple[float, str]:
    """Return how long a queue must be over, seconds: by default the default threshold, and no other, has a hold."""
    if asked.hold_s is not None:
        return (
            asked.hold_s,
            f"for {asked.hold_s:g} s, as asked" if asked.hold_s else "without a hold, as asked",
        )
    shortest_s = min((each.end_s - each.start_s for each in told if each.is_whole), default=math.inf)
    is_usual = threshold in {usual.thresholds.send, usual.thresholds.recv}
    if is_usual and shortest_s >= usual.hold_s:
        return usual.hold_s, f"for {usual.hold_s:g} s, the default with it"
    return 0.0, "without a hold"


def _rule(made: Advice) -> str | None:
    """Return what is proposed as YAML for the list of rules in the host's settings, which names it by its place."""
    series, proposal = made.series, made.proposal
    if not proposal.rung:
        return None
    levels = proposal.rung.levels
    thresholds: dict[str, object] = {series.type.lower(): size(levels.threshold)}
    rule = rule_of(series, proposal.process, thresholds, levels.hold_ns / S)
    return rule_text(f"{series.service}: {proposal.reason}", rule) if rule else None


@cache
def _usual() -> Config:
    return by_default()
