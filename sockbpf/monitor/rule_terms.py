# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the rules of the settings to records: each with all that it decides, its own and the settings for all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.monitor.terms import NEVER, decision_of
from sockbpf.record.rule import Applied, Decision, Rule

if TYPE_CHECKING:
    from sockbpf.settings.config import Config
    from sockbpf.settings.rules import RuleSettings


def rules_of(config: Config) -> tuple[Rule, ...]:
    """Return the rules, in their order."""
    return tuple(Rule(rule.match.match(), _decision_of(rule, config)) for rule in config.rules)


def destinations_by_rule(config: Config) -> dict[str, frozenset[str]]:
    """Return the destinations of the rules that name any, by the rule's name."""
    return {str(rule.name): frozenset(rule.destinations) for rule in config.rules if rule.destinations}


def _decision_of(rule: RuleSettings, config: Config) -> Decision:
    said = {
        name: value
        for name in ("clear_ratio", "hold", "repeat")
        if (value := getattr(rule, name)) is not None
    }
    sizes = {name: value for name, value in rule.thresholds if value is not None}
    thresholds = config.thresholds.model_copy(update=sizes)
    stalled = rule.stalled_or(config.stalled)
    decision = decision_of(config.model_copy(update={**said, "thresholds": thresholds, "stalled": stalled}))
    window, repeat = rule.flapping.window, rule.repeat
    applied = Applied(
        rule=str(rule.name),
        ignores=rule.ignore,
        severity=rule.severity if isinstance(rule.severity, str) else None,
        severities=tuple(rule.severity.items()) if isinstance(rule.severity, dict) else (),
        events=None if rule.events is None else frozenset(rule.events),
        flapping_above=rule.flapping.above,
        flapping_window_ns=None if window is None else int(window * 1e9),
        repeat_ns=None if repeat is None else int(repeat * 1e9),
    )
    if rule.ignore:
        return Decision(NEVER, NEVER, decision.hold_ns, decision.repeat_ns, applied)
    return replace(decision, applied=applied)
