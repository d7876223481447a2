# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The list of rules: which sockets each is for, and what it sets for them in place of the settings for all.

The first rule that matches a socket applies. What it does not set stays as the settings for all sockets say.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails

from sockbpf.record.alert import EVENTS, EXCEEDED
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.rule import ACCEPT, TYPES, Match
from sockbpf.settings.fields import Section, Threshold, duration, flag, number, one_of, whole
from sockbpf.settings.matching import (
    Cgroup,
    Container,
    Namespace,
    Port,
    Prefixed,
    Process,
    ProtocolName,
    Unit,
    User,
    one_or_more,
)
from sockbpf.settings.naming import Name
from sockbpf.settings.stalled import RuleStalled, StalledSettings

MOST_RULES = 1024

SEVERITIES = tuple(each.value for each in Severity)
CONDITIONS = tuple(each.value for each in Condition if each is not Condition.RATE)
"""Those of sockets; the severity of a rate is that of its limit."""

Several = BeforeValidator(one_or_more)


class MatchSettings(Section):
    """The conditions, all of which must hold: each a value or a list of them, of which one must fit."""

    protocol: Annotated[tuple[ProtocolName, ...], Several] = ()
    type: Annotated[tuple[Annotated[str, one_of(TYPES)], ...], Several] = ()
    local_port: Annotated[tuple[Port, ...], Several] = ()
    remote_port: Annotated[tuple[Port, ...], Several] = ()
    local_ip: Annotated[tuple[Prefixed, ...], Several] = ()
    remote_ip: Annotated[tuple[Prefixed, ...], Several] = ()
    process: Annotated[tuple[Process, ...], Several] = ()
    user: Annotated[tuple[User, ...], Several] = ()
    unit: Annotated[tuple[Unit, ...], Several] = ()
    container: Annotated[tuple[Container, ...], Several] = ()
    cgroup: Annotated[tuple[Cgroup, ...], Several] = ()
    netns: Annotated[tuple[Namespace, ...], Several] = ()
    listener: Annotated[bool | None, BeforeValidator(flag)] = None

    @model_validator(mode="after")
    def _can_match(self) -> "MatchSettings":
        if not self.model_fields_set:
            raise ValueError("expected at least one condition")
        is_listener = self.listener or self.type == (ACCEPT,)
        if is_listener and "udp" in (each.name.lower() for each in self.protocol):
            raise ValueError("expected conditions that fit together: only a TCP socket can be a listener")
        if self.listener and self.type and ACCEPT not in self.type:
            raise ValueError(f"expected conditions that fit together: a listener has the type {ACCEPT} alone")
        if self.listener is False and self.type == (ACCEPT,):
            raise ValueError(f"expected conditions that fit together: only a listener has the type {ACCEPT}")
        return self

    def match(self) -> Match:
        """Return the conditions as a record."""
        return Match(
            protocols=self.protocol, types=self.type,
            local_ports=self.local_port, remote_ports=self.remote_port,
            local_ips=self.local_ip, remote_ips=self.remote_ip,
            processes=self.process, users=self.user, units=self.unit,
            containers=self.container, cgroups=self.cgroup, netns=self.netns, listener=self.listener,
        )  # fmt: skip


class RuleThresholds(Section):
    """What a queue may hold; None: as for all sockets."""

    send: Threshold | None = None
    recv: Threshold | None = None


class RuleFlapping(Section):
    """As FlappingSettings; None: as for all sockets."""

    above: Annotated[int | None, whole(0, 1_000_000)] = None
    window: Annotated[float | None, duration("1s", "24h")] = None


def _event_set(events: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if events is not None and (EXCEEDED not in events or len(set(events)) < len(events)):
        raise ValueError(f"expected a list with {EXCEEDED} in it and no event twice")
    return events


def _some_names(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if names is not None and (not names or len(set(names)) < len(names)):
        raise ValueError("expected a list with something in it and nothing twice")
    return names


def _severity(value: object) -> str | dict[str, str] | None:
    """Check for one severity, or for one by condition."""
    if isinstance(value, dict):
        if (
            not value
            or not value.keys() <= set(CONDITIONS)
            or not set(map(str, value.values())) <= set(SEVERITIES)
        ):
            raise ValueError(
                f"expected a severity by condition ({', '.join(CONDITIONS)}), such as {{stalled: critical}}"
            )
        return value
    if value is not None and value not in SEVERITIES:
        raise ValueError(f"expected one of {', '.join(SEVERITIES)}")
    return value


class RuleSettings(Section):
    """One rule; None: as for all sockets. `hold` and `repeat` are seconds."""

    name: Name | None = None
    match: MatchSettings = Field(description="the conditions, such as {local_port: 443}")
    ignore: Annotated[bool, BeforeValidator(flag)] = False
    thresholds: RuleThresholds = RuleThresholds()
    clear_ratio: Annotated[float | None, number("0", "1", "0.8")] = None
    hold: Annotated[float | None, duration("0s")] = None
    repeat: Annotated[float | None, duration("1s")] = None
    events: Annotated[tuple[Annotated[str, one_of(EVENTS)], ...] | None, AfterValidator(_event_set)] = None
    stalled: RuleStalled = RuleStalled()
    flapping: RuleFlapping = RuleFlapping()
    severity: Annotated[str | dict[str, str] | None, PlainValidator(_severity)] = None
    destinations: Annotated[tuple[str, ...] | None, AfterValidator(_some_names)] = None

    def stalled_or(self, otherwise: StalledSettings) -> StalledSettings:
        """Return when a queue is stalled; what the rule does not set is as in `otherwise`."""
        own = {name: value for name, value in self.stalled if value is not None}
        return otherwise.model_copy(update=own) if own else otherwise

    @model_validator(mode="after")
    def _ignores_or_sets(self) -> "RuleSettings":
        beside = sorted(self.model_fields_set - {"name", "match", "ignore"})
        if self.ignore and beside:
            raise ValueError(
                f"expected nothing that is set beside ignore: true, but there is {', '.join(beside)}"
            )
        return self


def checked_rules(rules: tuple[RuleSettings, ...], info: ValidationInfo) -> tuple[RuleSettings, ...]:
    """Return the rules, each with a name; raise ValidationError where they do not fit together or to the settings."""
    if len(rules) > MOST_RULES:
        raise ValueError(f"expected at most {MOST_RULES} rules")
    faults = [*_repeated_names(rules), *_unknown_destinations(rules, info.data)]
    if faults:
        raise ValidationError.from_exception_data("rules", faults, hide_input=True)
    return tuple(
        rule if rule.name else rule.model_copy(update={"name": f"rule-{place}"})
        for place, rule in enumerate(rules, 1)
    )


def _repeated_names(rules: Sequence[RuleSettings]) -> Iterator[InitErrorDetails]:
    taken: set[str] = {f"rule-{place}" for place, rule in enumerate(rules, 1) if not rule.name}
    for place, rule in enumerate(rules):
        if rule.name:
            if rule.name in taken:
                yield _expected((place, "name"), rule.name, "a name that no other rule has")
            taken.add(rule.name)


def _unknown_destinations(
    rules: Sequence[RuleSettings], settings: dict[str, Any]
) -> Iterator[InitErrorDetails]:
    if "destinations" not in settings:  # a fault of theirs is said already
        return
    known = [each.name for each in settings["destinations"]]
    for place, rule in enumerate(rules):
        for at, name in enumerate(rule.destinations or ()):
            if name not in known:
                yield _expected((place, "destinations", at), name, f"one of {', '.join(known)}")


def _expected(where: tuple[int | str, ...], value: object, what: str) -> InitErrorDetails:
    return InitErrorDetails(
        type="value_error", loc=where, input=value, ctx={"error": ValueError(f"expected {what}")}
    )


Rules = Annotated[tuple[RuleSettings, ...], AfterValidator(checked_rules)]
