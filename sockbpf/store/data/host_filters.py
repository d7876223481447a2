# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What hosts are asked for: the parameters of a request, read; and where a page of them begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.record.labels import MOST_LABELS, MOST_NAME, MOST_VALUE
from sockbpf.store.data.filters import MOST_ROWS, ROWS
from sockbpf.store.data.free_words import read_words
from sockbpf.store.data.states import STATES_OF_HOST
from sockbpf.store.data.values import EntryError, read_whole, searchable

if TYPE_CHECKING:
    from collections.abc import Iterable

LABEL = rf"^[A-Za-z_][A-Za-z0-9_]{{0,{MOST_NAME - 1}}}=[\s\S]{{1,{MOST_VALUE}}}$"
CURSOR = r"^[0-9]~([0-9a-f]{2}){1,1024}$"
"""A place as a parameter: the host's name is the digits of its UTF-8."""
_LABEL, _CURSOR = (re.compile(pattern.replace("$", r"\Z")).match for pattern in (LABEL, CURSOR))
NAMES = frozenset({"limit", "host", "state", "label", "version", "blind", "text", "cursor"})
Place = tuple[int, str]
"""How soon such hosts come in the order, and the name: of the last host on the page before."""


@dataclass(frozen=True)
class HostFilter:
    """What is asked; what is empty, or None, is any."""

    limit: int = ROWS
    host: str = ""
    state: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values: a host that fits has all of them."""
    version: str = ""
    blind: bool | None = None
    words: tuple[str, ...] = ()
    """Each stands somewhere in the host's name; in lower case."""
    behind: Place | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing but how many is asked."""
        return self == HostFilter(self.limit)


def read_hosts(pairs: Iterable[tuple[str, str]]) -> HostFilter:
    """Return what these parameters ask for; raise EntryError."""
    given: dict[str, str] = {}
    labels: list[tuple[str, str]] = []
    for name, value in pairs:
        if name not in NAMES or name in given or (name == "label" and len(labels) == MOST_LABELS):
            raise EntryError(
                f"expected only {', '.join(sorted(NAMES))}, each once, {MOST_LABELS} labels at most"
            )
        if not value:
            raise EntryError(f"{name}: expected a value")
        if name == "label":
            labels.append(_label(value))
        else:
            given[name] = value
    return HostFilter(
        limit=read_limit(given.get("limit", str(ROWS))),
        host=searchable(given.get("host", "")),
        state=_one_of("state", given.get("state", ""), STATES_OF_HOST),
        labels=tuple(labels),
        version=searchable(given.get("version", "")),
        blind=given["blind"] == "true"
        if _one_of("blind", given.get("blind", ""), ("true", "false"))
        else None,
        words=read_words("text", given.get("text", "")),
        behind=_read_cursor(given["cursor"]) if "cursor" in given else None,
    )


def read_limit(text: str) -> int:
    """Return how many rows are asked for; raise EntryError."""
    limit = read_whole("limit", text)
    if not 1 <= limit <= MOST_ROWS:
        raise EntryError(f"limit: expected 1 to {MOST_ROWS}")
    return limit


def cursor_behind(place: Place) -> str:
    """Return the `cursor` that leads to what follows this place."""
    return f"{place[0]}~{place[1].encode().hex()}"


def _read_cursor(given: str) -> Place:
    if not _CURSOR(given):
        raise EntryError("cursor: expected what a Link header gave")
    rank, _, host = given.partition("~")
    return int(rank), searchable(bytes.fromhex(host).decode(errors="replace"))


def _label(given: str) -> tuple[str, str]:
    if not _LABEL(given):
        raise EntryError("label: expected a name and a value such as dc=fra1")
    name, _, value = given.partition("=")
    return name, searchable(value)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value and value not in choices:
        raise EntryError(f"{name}: expected one of {', '.join(choices)}")
    return value
