# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Templates of JSON: mappings, lists and texts with `{field}` in them, into which the fields of an alert are put.

Pure. What is put in is a value, never JSON or code: no field can change the form of what is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Where = tuple[str | int, ...]

MOST_PLACES = 200
"""So many placeholders may a template have."""

PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?")
WORDS = {"true": True, "false": False, "null": None}


def places(template: object, where: Where = ()) -> Iterator[tuple[Where, str | None]]:
    """Yield each placeholder with where it stands: its name, or None for a brace that is part of none."""
    if isinstance(template, dict):
        for key, value in template.items():
            yield from places(value, (*where, key))
    elif isinstance(template, list):
        for place, value in enumerate(template):
            yield from places(value, (*where, place))
    elif isinstance(template, str):
        for part in PART.finditer(template):
            if part[0] not in {"{{", "}}"}:
                yield where, part[1]


def is_constant(name: str) -> bool:
    """Tell whether this is no name, but a number, true, false or null, as `{3}`."""
    return bool(NUMBER.fullmatch(name) or name in WORDS)


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """Return the template with the values put in.

    A text that is one placeholder becomes its value, a number a number, null where there is none; within a longer
    text the value is text, and nothing where there is none.
    """
    if isinstance(template, dict):
        return {key: filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    whole = PART.fullmatch(template)
    if whole and whole[1] is not None:
        return _constant(whole[1]) if is_constant(whole[1]) else values.get(whole[1])
    return PART.sub(lambda part: _text(part, values), template)


def _constant(name: str) -> Any:
    if name in WORDS:
        return WORDS[name]
    return float(name) if "." in name else int(name)


def _text(part: re.Match[str], values: Mapping[str, Any]) -> str:
    name = part[1]
    if name is None:
        return part[0][0]
    if is_constant(name):
        return name
    value = values.get(name)
    return "" if value is None else str(value)
