# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The list of destinations: each item by its type, its defaults filled in, every fault of every item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from sockbpf.record.alert import HEARTBEAT
from sockbpf.settings.destinations import MODELS, TOLD, AnyDestination, HttpSettings
from sockbpf.settings.secret import HIDDEN, hidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import ErrorDetails, PydanticCustomError

OF_URL = "http"
"""The name of the destination that `url` is."""

LIMITS = ("rate", "burst", "timeout")
"""What a destination has from `delivery` where it does not say its own."""


def every_destination(value: object, said: Mapping[str, Any]) -> tuple[AnyDestination, ...]:
    """Return the destination of `url`, then those of the list `value`.

    `said` are the settings before the list, without those that are faulty. Raise ValidationError.
    """
    if not isinstance(value, (list, tuple)):
        raise hidden("expected a list of destinations, each with its type")
    limits = {key: getattr(said["delivery"], key) for key in LIMITS if "delivery" in said}
    faults = [*_strangers(value), *_namesakes(value), *_never_told(value, said)]
    found: list[AnyDestination] = []
    if "url" in said and "http" in said:
        found.append(HttpSettings(name=OF_URL, url=said["url"], **dict(said["http"]), **limits))
    for place, item in enumerate(value):
        if model := MODELS.get(_type(item) or ""):
            try:
                found.append(model.model_validate({**limits, **item}))
            except ValidationError as error:
                faults += [_below(place, each) for each in error.errors()]
    if faults:
        raise ValidationError.from_exception_data("destinations", faults, hide_input=True)
    return tuple(found)


def _type(item: object) -> str | None:
    kind = item.get("type") if isinstance(item, Mapping) else None
    return kind if isinstance(kind, str) else None


def _strangers(items: Sequence[object]) -> Iterator[InitErrorDetails]:
    """Yield the items whose type is not known: which keys they may have nobody can say."""
    types = ", ".join(MODELS)
    for place, item in enumerate(items):
        if not isinstance(item, Mapping):
            yield _at((place,), item, hidden("expected keys (type, ...) with their values"))
        elif "type" not in item:
            yield _at((place, "type"), None, hidden(f"required, one of {types}"))
        elif _type(item) not in MODELS:
            yield _expected((place, "type"), item["type"], f"one of {types}")


def _namesakes(items: Sequence[object]) -> Iterator[InitErrorDetails]:
    taken = {OF_URL}
    for place, item in enumerate(items):
        name = item.get("name", _type(item)) if isinstance(item, Mapping) else None
        if isinstance(name, str):
            if name in taken:
                yield _expected((place, "name"), name, "a name that no destination before it has")
            taken.add(name)


def _never_told(items: Sequence[object], said: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Yield the items that wait for what is not made."""
    made = {*said.get("events", TOLD), *([HEARTBEAT] if said.get("heartbeat", 1) else [])}
    for place, item in enumerate(items):
        events = item.get("events") if isinstance(item, Mapping) else None
        for event in events if isinstance(events, list) else ():
            if event in TOLD and event not in made:
                key = "heartbeat" if event == HEARTBEAT else "events"
                told = hidden(f"expected what is made at all, which {event} is not: see the key {key!r}")
                yield _at((place, "events"), event, told)


def _expected(where: tuple[int | str, ...], value: object, what: str) -> InitErrorDetails:
    error = ValueError(f"expected {what}")
    return InitErrorDetails(type="value_error", loc=where, input=value, ctx={"error": error})


def _at(where: tuple[int | str, ...], value: object, error: PydanticCustomError) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=where, input=value)


def _below(place: int, error: ErrorDetails) -> InitErrorDetails:
    ctx = error.get("ctx", {})
    kind = hidden(ctx["message"], *ctx["below"]) if error["type"] == HIDDEN else error["type"]
    return InitErrorDetails(type=kind, loc=(place, *error["loc"]), input=error["input"], ctx=ctx)
