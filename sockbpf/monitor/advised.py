# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the history of a host to advice for each of its services, and from that to rules of the settings."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sockbpf.judge.advice import S, grain_of
from sockbpf.judge.advice_proposal import size
from sockbpf.judge.advice_service import Terms, advice_for
from sockbpf.judge.rulebook import Rulebook
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.monitor.terms import decision_of
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.rule import Match, Who
from sockbpf.settings.advised_rule import name_of, rule_of, rule_text, why_not
from sockbpf.settings.fields import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sockbpf.judge.advice_known import Known
    from sockbpf.judge.advice_service import Advice
    from sockbpf.judge.levels import Levels
    from sockbpf.record.history import Series
    from sockbpf.settings.config import Config
    from sockbpf.settings.rules import RuleSettings

KNOWN_KEYS = {"protocols", "types", "units", "local_ports", "listener"}
"""What of a match the name of a service decides."""


def advice_of(config: Config, known: Known, hour_of: Callable[[float], int]) -> Iterator[Advice]:
    """Yield the advice for each service; `hour_of` returns the hour of the day of a Unix time."""
    grain_s = grain_of([sorted(samples) for samples in known.samples.values()])
    for series in known.samples:
        yield advice_for(series, known, grain_s, _terms(config, series), hour_of)


def _terms(config: Config, series: Series) -> Terms | str:
    present = present_of(config, series)
    if isinstance(present, str):
        return present
    rule = _rule_of(config, series)
    ratio = config.clear_ratio if rule is None or rule.clear_ratio is None else rule.clear_ratio
    return Terms(present, ratio, flapping_of(config))


def flapping_of(config: Config) -> tuple[int, float]:
    """Return after how many alerts in how many seconds a queue may flap, by any of the rules; 0: never."""
    aboves = [config.flapping.above, *(rule.flapping.above for rule in config.rules)]
    windows = [config.flapping.window, *(rule.flapping.window for rule in config.rules)]
    return min((each for each in aboves if each), default=0), max(each for each in windows if each)


def present_of(config: Config, series: Series) -> Levels | str:
    """Return the levels that the settings give the queues of a service; or, in words, why none can be told."""
    if why := why_not(series):
        return why
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


def advised_rules(config: Config, given: Iterable[Advice]) -> str:
    """Return the rules that are proposed, as YAML for the top of the settings' `rules`, each with its reason."""
    taken = {str(rule.name) for rule in config.rules}
    rules = ""
    proposed = [each for each in given if each.proposal.rung]
    # The first rule that matches applies: one for a process goes before that for all of its service.
    for each in sorted(proposed, key=lambda each: not each.proposal.process):
        if rule := _rule(config, each, taken):
            taken.add(str(rule["name"]))
            rules += rule_text(f"{each.series.service}: {each.proposal.reason}", rule)
    return f"rules:\n{rules}" if rules else "rules: []\n"


def _rule(config: Config, advice: Advice, taken: set[str]) -> dict[str, object] | None:
    """Return a rule that sets what is proposed, and all else as the rule does that applies now."""
    rung, series = advice.proposal.rung, advice.series
    if rung is None:
        return None
    now, levels = _rule_of(config, series), rung.levels
    thresholds = _as_written(now.thresholds) if now else {}
    thresholds |= {series.type.lower(): size(levels.threshold)}
    made = rule_of(series, advice.proposal.process, thresholds, levels.hold_ns / S)
    return {**(_as_written(now) if now else {}), "name": name_of(series, taken), **made} if made else None


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
