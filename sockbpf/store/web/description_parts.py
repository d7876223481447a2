# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the OpenAPI description of each request is made of: its parameters, its answers, the errors of all."""

from __future__ import annotations

from typing import Any

from sockbpf.store.web.problem import MEDIA_TYPE

TEXT = {"type": "string"}
TIME = {
    "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
    "description": "Unix seconds or ISO 8601",
    "example": "2026-01-31T12:00:00Z",
}
PROBLEM = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
}
SAYS = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "A page of another origin may not do this; without the token nothing is deleted.",
    408: "The body took too long.",
    413: "The body is too large.",
    414: "The parameters are too long.",
    421: "The Host header names another host.",
    415: "The body is compressed in a way that is not known.",
    422: "A parameter or the body is not valid.",
    429: "Too many entries wait to be written; try again, as Retry-After says.",
    503: "The database is busy or away; try again.",
}


def answers(*also: int) -> dict[str, dict[str, Any]]:
    """Return the errors that every request may get, and further ones."""
    return {
        str(code): content(SAYS[code], PROBLEM, MEDIA_TYPE)
        for code in (400, 401, 403, 414, 421, 422, 503, *also)
    }


def content(description: str, schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    """Return an answer of this schema."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def query(**schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of a query string; a name that ends with _ stands for that without."""
    return [
        {
            "name": name.rstrip("_"),
            "in": "query",
            "required": bool(schema.get("x-required")),
            "schema": {key: value for key, value in schema.items() if key != "x-required"},
        }
        for name, schema in schemas.items()
    ]


def must(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is required."""
    return {**schema, "x-required": True}
