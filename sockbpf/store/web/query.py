# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The parameters of a request's query string."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from sockbpf.store.web.problem import Problem

if TYPE_CHECKING:
    from starlette.types import Scope

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


def link_to_next(path: str, pairs: list[tuple[str, str]], cursor: str) -> str:
    """Return the Link header that leads to the next page of what these parameters ask for."""
    query = urlencode([pair for pair in pairs if pair[0] != "cursor"] + [("cursor", cursor)])
    return f'<{path}?{query}>; rel="next"'
