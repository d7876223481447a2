# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Filters on the command line: the conditions of a rule's `match` as options, each given once or more."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from sockbpf.errors import ConfigError
from sockbpf.record.event import Protocol
from sockbpf.record.facts import STATES
from sockbpf.record.rule import Match
from sockbpf.record.socket_row import Asked
from sockbpf.record.text import printable
from sockbpf.settings.rules import MatchSettings
from sockbpf.usage import meant, meant_of

EITHER_END = {"port": ("local_port", "remote_port"), "ip": ("local_ip", "remote_ip")}
"""Options that ask for one of two conditions."""

CONDITIONS = (
    *("local_port", "remote_port", "local_ip", "remote_ip"),
    *("process", "user", "unit", "container", "cgroup", "netns"),
    "type",
)
"""Options that are conditions of a rule, by its keys."""

WITHOUT_COMMAS = ("process", "unit", "container", "cgroup")
"""Patterns: a comma may be part of one. Other options take several values with commas between them."""

FILTERS = (*EITHER_END, *CONDITIONS, "state")
ALIASES = {"ESTABLISHED": "ESTAB", "LISTENING": "LISTEN", "UNCONNECTED": "UNCONN"}
"""What `ss` takes for a state besides what it shows."""


def asked_of(options: Mapping[str, Sequence[str]], protocols: Sequence[Protocol] = ()) -> Asked:
    """Return which sockets these options ask for: names of FILTERS with the values given.

    Raise ConfigError with a line for each value that is none.
    """
    faults: list[str] = []
    values = {name: _values(name, given) for name, given in options.items() if given}
    conditions: dict[str, object] = (
        {"protocol": [each.name.lower() for each in protocols]} if protocols else {}
    )
    conditions |= {name: values[name] for name in CONDITIONS if name in values}
    either = [[{key: values[name]} for key in keys] for name, keys in EITHER_END.items() if name in values]
    matches = [_match(each, options, faults) for each in _every(conditions, either)]
    states = frozenset(_states(values.get("state", ()), faults))
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return Asked(tuple(matches), states)


def _values(name: str, given: Sequence[str]) -> list[str]:
    if name in WITHOUT_COMMAS:
        return list(given)
    values = [part.strip() for each in given for part in each.split(",")]
    return [value.upper() for value in values] if name == "type" else values


def _every(
    conditions: dict[str, object], either: Sequence[Sequence[Mapping[str, object]]]
) -> Iterator[dict[str, object]]:
    """Yield the conditions with each choice out of `either`; a condition that is there already stays."""
    if not either:
        yield conditions
        return
    for choice in either[0]:
        yield from _every({**conditions, **choice}, either[1:])


def _match(conditions: dict[str, object], options: Mapping[str, object], faults: list[str]) -> Match:
    if not conditions:
        return Match()
    try:
        return MatchSettings.model_validate(conditions).match()
    except ValidationError as error:
        for each in error.errors():
            key = str(each["loc"][0]) if each["loc"] else ""
            name = key if options.get(key) else key.rpartition("_")[2]
            expected = str(each["ctx"]["error"]) if "ctx" in each else "expected another value"
            of_name = f"--{name.replace('_', '-')}: " if name else ""
            got = f"got {printable(repr(each['input']))}{meant_of(expected, each['input'])}"
            faults.append(f"{of_name}{expected}, {got}")
    return Match()


def _states(given: Sequence[str], faults: list[str]) -> Iterator[int]:
    numbers = {name: number for number, name in STATES.items()}
    for each in given:
        name = ALIASES.get(each.upper(), each.upper())
        if name in numbers:
            yield numbers[name]
        else:
            expected, got = ", ".join(numbers), printable(repr(each))
            faults.append(f"--state: expected one of {expected}, got {got}{meant(each, numbers)}")
