# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The `body` of a webhook: a template of JSON, whose every placeholder must be a field that there is."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from sockbpf.record.fields import BY_NAME
from sockbpf.record.template import MOST_PLACES, is_constant, places
from sockbpf.settings.secret import hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_INCIDENTS = ("incident", "open", "service", "summary")
"""Fields that a webhook has besides those of an alert."""

OF_RUNS = ("version", "kernel", "unseen", "silences", "labels", "open_episodes")
"""Fields of `started`, `stopped` and `heartbeat`."""

KNOWN = (*BY_NAME, *OF_INCIDENTS, *OF_RUNS)

MAPPING = "expected names with their values, such as {text: '{summary}'}"


def json_template(value: object) -> dict[str, Any] | None:
    """Check the template. Raise ValidationError with a fault for each placeholder that is none.

    No fault shows a text of the template: a secret may be in it.
    """
    if value is None:
        return None
    if not isinstance(value, dict) or not value:
        raise hidden(MAPPING)
    faults = list(_faults(value))
    if faults:
        raise ValidationError.from_exception_data("body", faults, hide_input=True)
    return value


def _faults(template: dict[str, Any]) -> Iterator[InitErrorDetails]:
    found = list(places(template))
    if len(found) > MOST_PLACES:
        yield InitErrorDetails(
            type=hidden(f"expected at most {MOST_PLACES} placeholders"), loc=(), input=None
        )
    for where, name in found[:MOST_PLACES]:
        if message := _fault(name):
            yield InitErrorDetails(type=hidden(message), loc=where, input=None)


def _fault(name: str | None) -> str:
    """Return what is wrong with a placeholder; empty if nothing is."""
    if name is None:
        return "expected {field}, or {{ and }} for braces themselves"
    if name in KNOWN or is_constant(name):
        return ""
    if not re.fullmatch(r"[A-Za-z_]{1,32}", name):
        return "expected the name of a field between { and }, or {{ and }} for braces themselves"
    near = difflib.get_close_matches(name.lower(), KNOWN, n=1)
    asked = f"did you mean {near[0]!r}?" if near else "docs/told.md names all"
    return f"unknown field {name!r}, {asked}"
