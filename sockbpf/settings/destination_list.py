# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The list of destinations: each item is read by its type, with its defaults; every fault of every item is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from sockbpf.record.alert import HEARTBEAT
from sockbpf.settings.destinations import ALL_EVENTS, MODELS, AnyDestination, HttpSettings, OtlpSettings
from sockbpf.settings.secret import HIDDEN, hidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import ErrorDetails, PydanticCustomError

OF_URL = "http"
"""The name of the destination that `url` is."""

LIMITS = ("rate", "burst", "timeout")
"""Keys that a destination has from `delivery` where it has none of its own."""


def every_destination(value: object, settings: Mapping[str, Any]) -> tuple[AnyDestination, ...]:
    """Return the destination of `url`, then those of the list `value`.

    `settings` are those before the list in the model, without the faulty ones. Raise ValidationError.
    """
    if not isinstance(value, (list, tuple)):
        raise hidden("expected a list of destinations, each with its type")
    limits = {key: getattr(settings["delivery"], key) for key in LIMITS if "delivery" in settings}
    faults = [*_unknown_types(value), *_repeated_names(value), *_never_sent(value, settings)]
    found: list[AnyDestination] = []
    if "url" in settings and "http" in settings:
        found.append(HttpSettings(name=OF_URL, url=settings["url"], **dict(settings["http"]), **limits))
    for place, item in enumerate(value):
        if model := MODELS.get(_type(item) or ""):
            try:
                found.append(_labelled(model.model_validate({**limits, **item}), settings.get("labels", {})))
            except ValidationError as error:
                faults += [_below(place, each) for each in error.errors()]
    if faults:
        raise ValidationError.from_exception_data("destinations", faults, hide_input=True)
    return tuple(found)


def _labelled(its: AnyDestination, labels: Mapping[str, str]) -> AnyDestination:
    """Return the settings, those of a receiver of OTLP with the labels of this host in its resource."""
    if not isinstance(its, OtlpSettings) or not labels:
        return its
    return its.model_copy(update={"resource": {**labels, **its.resource}})


def _type(item: object) -> str | None:
    kind = item.get("type") if isinstance(item, Mapping) else None
    return kind if isinstance(kind, str) else None


def _unknown_types(items: Sequence[object]) -> Iterator[InitErrorDetails]:
    """Yield a fault for each item of no known type: its other keys cannot be checked."""
    types = ", ".join(MODELS)
    for place, item in enumerate(items):
        if not isinstance(item, Mapping):
            yield _at((place,), item, hidden("expected keys (type, ...) with their values"))
        elif "type" not in item:
            yield _at((place, "type"), None, hidden(f"required, one of {types}"))
        elif _type(item) not in MODELS:
            yield _expected((place, "type"), item["type"], f"one of {types}")


def _repeated_names(items: Sequence[object]) -> Iterator[InitErrorDetails]:
    """Yield a fault for each item with the name of one before it."""
    taken = {OF_URL}
    for place, item in enumerate(items):
        name = item.get("name", _type(item)) if isinstance(item, Mapping) else None
        if isinstance(name, str):
            if name in taken:
                yield _expected((place, "name"), name, "a name that no destination before it has")
            taken.add(name)


def _never_sent(items: Sequence[object], settings: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Yield a fault for each event that an item wants, and that by the settings above the list never happens."""
    sent = {*settings.get("events", ALL_EVENTS), *([HEARTBEAT] if settings.get("heartbeat", 1) else [])}
    for place, item in enumerate(items):
        events = item.get("events") if isinstance(item, Mapping) else None
        for event in events if isinstance(events, list) else ():
            if event in ALL_EVENTS and event not in sent:
                key = "heartbeat" if event == HEARTBEAT else "events"
                fault = hidden(f"expected events that are sent at all, {event} is not: see the key {key!r}")
                yield _at((place, "events"), event, fault)


def _expected(where: tuple[int | str, ...], value: object, what: str) -> InitErrorDetails:
    error = ValueError(f"expected {what}")
    return InitErrorDetails(type="value_error", loc=where, input=value, ctx={"error": error})


def _at(where: tuple[int | str, ...], value: object, error: PydanticCustomError) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=where, input=value)


def _below(place: int, error: ErrorDetails) -> InitErrorDetails:
    ctx = error.get("ctx", {})
    kind = hidden(ctx["message"], *ctx["below"]) if error["type"] == HIDDEN else error["type"]
    return InitErrorDetails(type=kind, loc=(place, *error["loc"]), input=error["input"], ctx=ctx)
