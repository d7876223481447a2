# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the history of a host to advice for each of its services, and from that to rules of the settings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sockbpf.judge.advice import S, grain_of, looks_of, times_of
from sockbpf.judge.advice_proposal import Proposal, ladder, propose, size, spread_of
from sockbpf.judge.rulebook import Rulebook
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.monitor.terms import decision_of
from sockbpf.record.cgroup import UNITS
from sockbpf.record.event import OF_BYTES, Direction, Protocol
from sockbpf.record.rule import Match, Who
from sockbpf.record.text import printable
from sockbpf.settings.fields import Section
from sockbpf.settings.rules import MatchSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sockbpf.judge.advice import Told
    from sockbpf.judge.advice_proposal import Rung, Spread
    from sockbpf.judge.levels import Levels
    from sockbpf.monitor.advising import History
    from sockbpf.record.facts import Fill
    from sockbpf.record.history import Series
    from sockbpf.settings.config import Config
    from sockbpf.settings.rules import RuleSettings

CUT = 64
"""A service's name of so many characters may be the beginning of a longer one."""
KNOWN_KEYS = {"protocols", "types", "units", "local_ports", "listener"}
"""What of a match the name of a service decides."""


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
    rungs: Sequence[Rung]
    proposal: Proposal


def advice_of(config: Config, known: History, hour_of: Callable[[float], int]) -> Iterator[Advice]:
    """Yield the advice for each service; `hour_of` returns the hour of the day of a Unix time."""
    grain_s = grain_of([sorted(samples) for samples in known.samples.values()])
    for series, samples in known.samples.items():
        told = flaps_marked(known.told.get(series, []), config)
        present = present_of(config, series)
        if isinstance(present, str):
            rungs: list[Rung] = []
            proposal = Proposal(f"not advised: {present}")
        elif (series.protocol, series.type) in known.unnamed:
            rungs, proposal = [], Proposal("not advised: folded alerts name no unit, and may be of it")
        elif not known.is_whole:
            rungs, proposal = [], Proposal("not advised: more was told than is read; a shorter --since")
        else:
            looks = looks_of({at_s: sample.size for at_s, sample in samples.items()}, grain_s)
            rule = _rule_of(config, series)
            ratio = config.clear_ratio if rule is None or rule.clear_ratio is None else rule.clear_ratio
            rungs = ladder(present, ratio, told, looks)
            proposal = propose(present, rungs, told, looks, hour_of)
        each = samples.values()
        yield Advice(
            series=series,
            size=spread_of(sample.size for sample in each),
            fill=spread_of(sample.fill for sample in each),
            busy_s=len({at_s // grain_s for at_s in samples}) * grain_s,
            times=len(times_of([*told, *known.others.get(series, [])])),
            rungs=rungs,
            proposal=proposal,
        )


def flaps_marked(told: Sequence[Told], config: Config) -> list[Told]:
    """Return the episodes in order, with those marked that may be flaps: so many were told shortly before them."""
    aboves = [config.flapping.above, *(rule.flapping.above for rule in config.rules)]
    windows = [config.flapping.window, *(rule.flapping.window for rule in config.rules)]
    above = min((each for each in aboves if each), default=0)
    window_s = max(each for each in windows if each)
    marked = sorted(told)
    # Each has two alerts; a flap begins where its own, and one more, would be too many.
    before = (above - 1) // 2
    for place in range(before if above else len(marked), len(marked)):
        earlier = marked[place - before]
        if not before or marked[place].start_s - earlier.end_s <= window_s:
            marked[place] = marked[place]._replace(is_joined=True)
    return marked


def present_of(config: Config, series: Series) -> Levels | str:
    """Return the levels that the settings give the queues of a service; or, in words, why none can be told."""
    if series.type not in {direction.name for direction in OF_BYTES}:
        return "an accept queue is judged by its listener's backlog"
    if match_of(series) is None:
        return "no rule can name these sockets by their service"
    place = _place_of_rule(config, series)
    if isinstance(place, str):
        return place
    decision = decision_of(config) if place is None else rules_of(config)[place].decision
    if decision.applied.ignores:
        return f"the rule {decision.applied.rule} ignores it"
    levels = Rulebook((), decision, lambda _: (Who(), True), {}).of_others[Direction[series.type]]
    return "its threshold is a share of the buffer" if levels.of_buffer else levels


def _place_of_rule(config: Config, series: Series) -> int | str | None:
    """Return the place of the rule that applies to a service, None if none does; why none surely does, in words."""
    for place, rule in enumerate(rules_of(config)):
        fits = _fits(rule.match, series)
        if fits is None:
            return f"the rule {rule.decision.applied.rule} is for some of its sockets only"
        if fits:
            return place
    return None


def _rule_of(config: Config, series: Series) -> RuleSettings | None:
    place = _place_of_rule(config, series)
    return config.rules[place] if isinstance(place, int) else None


def match_of(series: Series) -> dict[str, str | int] | None:
    """Return the conditions of a rule for a service; None if there are none."""
    service = series.service
    whose: dict[str, str | int]
    if service.isdecimal():
        whose = {"local_port": int(service)}
    elif service.endswith(UNITS) or len(service) == CUT:
        whose = {"unit": f"{service}*" if len(service) == CUT else service}
    else:
        return None
    return {**whose, "protocol": series.protocol, "type": series.type}


def _fits(match: Match, series: Series) -> bool | None:
    """Tell whether a rule is for a service; None if it may be for some of its sockets."""
    if match.listener or (match.types and series.type not in match.types):
        return False
    if match.protocols and Protocol[series.protocol.upper()] not in match.protocols:
        return False
    is_port = series.service.isdecimal()
    if is_port and match.local_ports:
        port = int(series.service)
        if not any(first <= port <= last for first, last in match.local_ports):
            return False
    if not is_port and match.units and not any(fnmatchcase(series.service, each) for each in match.units):
        return False
    asks_more = any(getattr(match, name) for name in Match.__slots__ if name not in KNOWN_KEYS)
    asks_more = asks_more or bool(match.units if is_port else match.local_ports)
    return None if asks_more else True


def rules_text(config: Config, given: Iterable[Advice]) -> str:
    """Return the rules that are proposed, as YAML for the top of the settings' `rules`, each with its reason."""
    taken = {str(rule.name) for rule in config.rules}
    lines: list[str] = []
    proposed = [each for each in given if each.proposal.rung]
    # The first rule that matches applies: one for a process goes before that for all of its service.
    for each in sorted(proposed, key=lambda each: not each.proposal.process):
        rule = _rule(config, each, taken)
        if rule:
            lines += [
                f"  # {printable(f'{each.series.service}: {each.proposal.reason}')}",
                f"  - {json.dumps(rule, ensure_ascii=False, default=_share)}",
            ]
    return "rules:\n" + "\n".join(lines) + "\n" if lines else "rules: []\n"


def _rule(config: Config, advice: Advice, taken: set[str]) -> dict[str, object] | None:
    """Return a rule that sets what is proposed, and all else as the rule does that applies now."""
    match, rung = match_of(advice.series), advice.proposal.rung
    if match is None or rung is None:
        return None
    if advice.proposal.process:
        match["process"] = re.sub(r"([*?\[])", r"[\1]", advice.proposal.process)  # a name, no pattern
    try:
        MatchSettings.model_validate(match)
    except ValueError:  # a process or a unit can have a name that no condition can have
        return None
    now, levels = _rule_of(config, advice.series), rung.levels
    kept = _as_written(now) if now else {}
    thresholds = _as_written(now.thresholds) if now else {}
    return {
        **kept,
        "name": _name(advice, taken),
        "match": match,
        "thresholds": thresholds | {advice.series.type.lower(): size(levels.threshold)},
        "hold": f"{levels.hold_ns / S:g}s",
    }


def _as_written(section: Section) -> dict[str, object]:
    """Return the keys that are set, as settings write them."""
    values = {
        name: getattr(section, name)
        for name in type(section).model_fields
        if name in section.model_fields_set
    }
    return {
        name: _as_written(value) if isinstance(value, Section) else value
        for name, value in values.items()
        if value is not None and name != "match"
    }


def _share(value: Fill) -> str:
    """Return a share of the buffer as settings write it."""
    return f"{value.percent}%"


def _name(advice: Advice, taken: set[str]) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", f"advised-{advice.series.service}-{advice.series.type}")[:55]
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name)
    return name
