# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which settings are read at the start only: those that `AtStart` marks. A reload takes all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sockbpf.settings.fields import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

S = TypeVar("S", bound=Section)


class AtStart:
    """Marks a key, in its `Annotated` type, that is read at the start only, with all that is under it."""


def at_start_keys(section: type[Section], under: str = "") -> Iterator[str]:
    """Yield the paths of all keys that are marked, such as `kernel` or `delivery > workers`."""
    for name, key in section.model_fields.items():
        if _is_marked(key):
            yield under + name
        elif isinstance(key.annotation, type) and issubclass(key.annotation, Section):
            yield from at_start_keys(key.annotation, f"{under}{name} > ")


def taken(running: S, written: S, under: str = "") -> tuple[S, list[str]]:
    """Return the settings after a reload of those written, and the paths of changed keys that it cannot take."""
    kept: dict[str, object] = {}
    paths: list[str] = []
    for name, key in type(written).model_fields.items():
        old, new = getattr(running, name), getattr(written, name)
        if _is_marked(key):
            if old != new:
                kept[name] = old
                paths.append(under + name)
        elif isinstance(new, Section):
            kept[name], more = taken(old, new, f"{under}{name} > ")
            paths += more
    return written.model_copy(update=kept), paths


def _is_marked(key: FieldInfo) -> bool:
    return any(isinstance(mark, AtStart) for mark in key.metadata)
