# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Silences as they are typed, sent to the monitor and kept in its file; their conditions are a rule's `match`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sockbpf.errors import ConfigError
from sockbpf.record.silence import Silence
from sockbpf.record.text import printable
from sockbpf.settings.fields import DURATIONS, quantity
from sockbpf.settings.rules import MatchSettings
from sockbpf.usage import meant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_S = 30 * 86400
"""The longest silence: what shall never be told is for a rule."""

MOST_VALUES = 64
"""So many values may one silence have."""

ONE_VALUE = "listener"
"""The condition of which a list makes no sense."""

VALUE_CHARACTERS = 300
REASON_CHARACTERS = 200
FORM = "--match: expected conditions of a rule's match, such as 'process=rsync*,local_port=873'"


def conditions_of(text: str) -> dict[str, list[str]]:
    """Return the conditions that a text says: `key=value`, further values of the key after commas.

    Raise ConfigError if there is none, or one that no rule could have.
    """
    conditions: dict[str, list[str]] = {}
    values: list[str] = []
    for part in text.split(","):
        key, sign, value = part.partition("=")
        if sign:
            values = conditions.setdefault(key.strip(), [])
        elif not conditions:
            raise ConfigError([f"{FORM}, got {printable(repr(text[:VALUE_CHARACTERS]))}"])
        values.append((value if sign else part).strip())
    _match(conditions)
    return conditions


def seconds_of(text: str) -> float:
    """Return the duration that is typed; raise ConfigError."""
    seconds = quantity(text, DURATIONS)
    if seconds is None or not 1 <= seconds <= MOST_S:
        raise ConfigError(
            [f"--for: expected a duration from 1s to 30d, such as 2h, got {printable(repr(text))}"]
        )
    return float(seconds)


def reason_of(text: str) -> str:
    """Return the reason that is typed; raise ConfigError."""
    if not text.isprintable() or len(text) > REASON_CHARACTERS:
        raise ConfigError([f"--reason: expected one line of at most {REASON_CHARACTERS} characters"])
    return text


def silence_of(said: object) -> Silence:
    """Return the silence that was sent or kept, as JSON has it; raise ConfigError if it makes no sense."""
    if not isinstance(said, dict):
        raise ConfigError(["no silence"])
    id_, reason = said.get("id"), said.get("reason", "")
    times = [said.get(name) for name in ("made", "until")]
    if not isinstance(id_, str) or not re.fullmatch(r"[0-9a-f]{8}", id_):
        raise ConfigError(["a silence without an id"])
    if not all(
        isinstance(each, (int, float)) and math.isfinite(each) and 0 <= each < 2**40 for each in times
    ):
        raise ConfigError(["a silence without its times"])
    if not isinstance(reason, str):
        raise ConfigError(["a silence with a reason that is no text"])
    conditions = _checked(said.get("match"))
    return Silence(id_, conditions, _match(conditions), times[0], times[1], reason_of(reason))  # type: ignore[arg-type]


def written(silence: Silence) -> dict[str, Any]:
    """Return a silence as `silence_of` reads it."""
    return {
        "id": silence.id, "match": silence.conditions, "made": silence.made_s, "until": silence.until_s,
        "reason": silence.reason,
    }  # fmt: skip


def shown(conditions: Mapping[str, list[str]]) -> str:
    """Return conditions as they are typed."""
    return ",".join(f"{key}={','.join(values)}" for key, values in conditions.items())


def _checked(said: object) -> dict[str, list[str]]:
    """Return what are texts by name, and not many; raise ConfigError otherwise."""
    if not isinstance(said, dict) or not all(isinstance(values, list) for values in said.values()):
        raise ConfigError(["a silence without conditions"])
    values = [*said, *(value for values in said.values() for value in values)]
    if len(values) > MOST_VALUES or not all(_is_short(value) for value in values):
        raise ConfigError([f"--match: expected at most {MOST_VALUES} names and values, none of them long"])
    return said


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= VALUE_CHARACTERS


def _match(conditions: Mapping[str, list[str]]) -> Any:
    checked = _checked(dict(conditions))
    as_in_rules = {
        name: values[0] if name == ONE_VALUE and len(values) == 1 else values
        for name, values in checked.items()
    }
    try:
        return MatchSettings.model_validate(as_in_rules).match()
    except ValidationError as error:
        raise ConfigError(list(dict.fromkeys(_faults(error)))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        key = printable(str(each["loc"][0])) if each["loc"] else ""
        if each["type"] == "extra_forbidden":
            known = MatchSettings.model_fields
            yield f"--match: unknown condition {key}, expected one of {', '.join(known)}{meant(key, known)}"
            continue
        expected = each["ctx"]["error"] if "error" in each.get("ctx", {}) else "expected another value"
        of_key = f"{key}: " if key else ""
        yield f"--match: {of_key}{expected}, got {printable(repr(each['input']))}"
