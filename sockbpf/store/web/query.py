# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The parameters of a request's query string."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlencode

from sockbpf.store.data.values import EntryError, read_whole
from sockbpf.store.web.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import Scope

N = TypeVar("N", int, None)

MOST_PARAMETERS = 128
"""A heartbeat has one for each counter, and a dozen more."""


def parameters(scope: Scope) -> list[tuple[str, str]]:
    """Return the names and values of the query string, in their order; raise Problem."""
    try:
        return parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError:
        raise Problem(400, f"expected at most {MOST_PARAMETERS} parameters, name=value, in UTF-8") from None


def given_once(pairs: list[tuple[str, str]], names: Collection[str]) -> dict[str, str]:
    """Return the parameters of a request by name; raise EntryError for one that it does not have, or has twice."""
    given = dict(pairs)
    if len(given) < len(pairs) or not given.keys() <= set(names):
        raise EntryError(f"expected only {', '.join(sorted(names))}, each once")
    return given


def number(name: str, given: Mapping[str, str], otherwise: N, least: int, most: int) -> int | N:
    """Return a whole number, `otherwise` if it is not given; raise EntryError."""
    if name not in given:
        return otherwise
    found = read_whole(name, given[name])
    if not least <= found <= most:
        raise EntryError(f"{name}: expected {least} to {most}")
    return found


def link_to_next(path: str, pairs: list[tuple[str, str]], cursor: str) -> str:
    """Return the Link header that leads to the next page of what these parameters ask for."""
    query = urlencode([pair for pair in pairs if pair[0] != "cursor"] + [("cursor", cursor)])
    return f'<{path}?{query}>; rel="next"'
