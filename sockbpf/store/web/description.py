# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The OpenAPI description of all requests and their answers."""

from __future__ import annotations

from typing import Any

from sockbpf import __version__
from sockbpf.record.field import Field, Kind, Needed
from sockbpf.record.fields import FIELDS, filters
from sockbpf.store.data.entry import CHOICES, NEEDED, NEEDED_OF_RATES, NEEDED_OF_SOCKETS
from sockbpf.store.data.episode_order import CURSOR as EPISODE_CURSOR
from sockbpf.store.data.episode_order import SORTS
from sockbpf.store.data.filters import MOST_ROWS, ROWS
from sockbpf.store.data.free_words import LOOKED_AT, MOST_CHARACTERS, MOST_WORDS, PATTERN, SEARCHED
from sockbpf.store.data.values import MOST_INTEGER
from sockbpf.store.web import description_batch, description_history, description_now, description_timeline
from sockbpf.store.web.posted import MOST_ENTRIES
from sockbpf.store.web.problem import MEDIA_TYPE

TEXT = {"type": "string"}
IP = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
V4 = rf"^{OCTET}(\.{OCTET}){{3}}/(3[0-2]|[12]?[0-9])$"
V6 = "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$"
CIDR = {
    "type": "string",
    "anyOf": [{"pattern": V4}, {"pattern": V6}],
    "description": "a network that has the local or the remote address in it; of IPv6 the short forms too",
    "example": "192.0.2.0/24",
}
CURSOR = {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$", "description": "from a Link header"}
WHOLE = {"type": "integer", "minimum": 0, "maximum": MOST_INTEGER}
SECONDS = {"type": "number", "minimum": 0, "maximum": 253402300799}
KINDS: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: TEXT,
    Kind.WHOLE: WHOLE,
    Kind.SECONDS: SECONDS,
    Kind.ADDRESS: IP,
}
TIME = {
    "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
    "description": "Unix seconds or ISO 8601",
    "example": "2026-01-31T12:00:00Z",
}
CHOSEN = {name: {"type": "string", "enum": list(choices)} for name, choices in CHOICES.items()}
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


def _answers(*also: int) -> dict[str, dict[str, Any]]:
    """Return the errors that every request may get, and further ones."""
    return {
        str(code): _content(SAYS[code], PROBLEM, MEDIA_TYPE)
        for code in (400, 401, 403, 414, 421, 422, 503, *also)
    }


def _content(
    description: str, schema: dict[str, Any], media_type: str = "application/json"
) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _query(**schemas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name.rstrip("_"),
            "in": "query",
            "required": bool(schema.get("x-required")),
            "schema": {key: value for key, value in schema.items() if key != "x-required"},
        }
        for name, schema in schemas.items()
    ]


def _must(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "x-required": True}


def _parameter(field: Field) -> dict[str, Any]:
    """Return the schema of a field in the request of an alert."""
    schema: dict[str, Any] = dict(CHOSEN.get(field.name, KINDS[field.kind]))
    if field.needed is Needed.ALWAYS and schema == TEXT:
        schema["minLength"] = 1
    schema["description"] = f"{field.unit}: {field.meaning}" if field.unit else field.meaning
    return _must(schema) if field.needed is Needed.ALWAYS else schema


NEW = {"type": "object", "required": ["new"], "properties": {"new": {"type": "boolean"}}}
OBJECTS = {"type": "array", "items": {"type": "object"}}

ALERT: dict[str, Any] = {
    "summary": "Keep an alert; answered once it is on disk. The same alert is kept once, however often it comes.",
    "description": f"All of {', '.join(NEEDED)} are required, except of a heartbeat; of an alert about a socket "
    f"also {', '.join(NEEDED_OF_SOCKETS)}, of a rate {', '.join(NEEDED_OF_RATES)}.",
    "tags": ["alerts"],
    "responses": {
        **_answers(429),
        "200": _content("It is kept.", NEW),
    },
    "parameters": _query(**{field.name: _parameter(field) for field in FIELDS}),
}
ALERTS: dict[str, Any] = {
    "summary": "Keep many alerts, each as a JSON object on a line of its own; answered once they are on disk.",
    "description": description_batch.SAYS,
    "tags": ["alerts"],
    "responses": {
        **_answers(408, 413, 415, 429),
        "200": _content(
            "How many are new, how many were known, which lines are refused.", description_batch.ANSWER
        ),
    },
    "requestBody": description_batch.BODY,
}
COLUMNS = {field.name: KINDS[field.kind] for field in filters()}
"""The filters by a field of alerts; in objects that were posted the field may have any value."""
FILTERS: dict[str, dict[str, Any]] = {
    "from": TIME,
    "to": TIME,
    "ip": {**IP, "description": "local or remote"},
    "port": {**WHOLE, "description": "local or remote"},
    "cidr": CIDR,
    **{name: schema for name, schema in COLUMNS.items() if name not in CHOSEN},
    "min_size": WHOLE,
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": ROWS},
}
WORDS = {
    "type": "string",
    "maxLength": MOST_CHARACTERS,
    "pattern": PATTERN,
    "description": f"words, {MOST_WORDS} at most, each of which stands in one of {', '.join(SEARCHED)}; several in "
    f'"quotes" are one. A page looks at {LOOKED_AT} episodes: it may be short, or empty, and link to the next one',
    "example": "nginx",
}
LINK = {"Link": {"schema": TEXT, "description": "the next page, if any"}}
FIND: dict[str, Any] = {
    "summary": "What was kept, newest first; any further parameter is a key of the objects and its value.",
    "tags": ["alerts"],
    "responses": {
        **_answers(),
        "200": {
            "headers": LINK,
            "description": "Objects as they were sent; the Link header, rel=next, leads to the next page.",
            "content": {"application/json": {"schema": OBJECTS}, "text/csv": {"schema": TEXT}},
        },
    },
    "parameters": _query(
        **FILTERS,
        **{name: schema for name, schema in COLUMNS.items() if name in CHOSEN},
        cursor=CURSOR,
    ),
}
EPISODES: dict[str, Any] = {
    "summary": "Episodes: when each began, its peak, when it ended.",
    "tags": ["alerts"],
    "responses": {**_answers(), "200": {**_content("Episodes.", OBJECTS), "headers": LINK}},
    "parameters": _query(
        **FILTERS,
        **{name: CHOSEN[name] for name in COLUMNS if name in CHOSEN and name != "event"},
        open={"type": "string", "enum": ["true", "false"]},
        text=WORDS,
        sort={"type": "string", "enum": list(SORTS), "default": "start"},
        cursor={"type": "string", "pattern": EPISODE_CURSOR, "description": "from a Link header"},
    ),
}
STORED = {"type": "object", "required": ["stored"], "properties": {"stored": {"type": "integer"}}}
POST: dict[str, Any] = {
    "summary": "Keep an object, an array of objects, or text such as CSV.",
    "tags": ["store"],
    "responses": {
        **_answers(408, 413, 429),
        "201": _content("All of it is on disk.", STORED),
    },
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [{"type": "object"}, {**OBJECTS, "minItems": 1, "maxItems": MOST_ENTRIES}]
                }
            },
            "text/csv": {"schema": {"minLength": 1}},
            "text/plain": {"schema": {"minLength": 1}},
        },
    },
}
DELETED = {
    "type": "object",
    "required": ["deleted"],
    "properties": {"deleted": {"type": "integer"}, "more": {"type": "boolean"}},
}
DELETE: dict[str, Any] = {
    "summary": "Delete older entries; exactly one of the two parameters.",
    "description": "The token is always required: a store that has none deletes nothing by request.",
    "security": [{"token": []}],
    "tags": ["store"],
    "responses": {
        **_answers(408, 413),
        "200": _content("How many entries were deleted; `more` if there was no time for all.", DELETED),
    },
    "parameters": _query(
        before=TIME,
        older_than={
            "type": "string",
            "pattern": r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,9})? ?(ms|s|m|h|d)?$",
            "example": "30d",
        },
    ),
}
NOW: dict[str, Any] = {
    "summary": "What is wrong now: open episodes as incidents, silent hosts, blind monitors; the worst first.",
    "tags": ["now"],
    "responses": {**_answers(), "200": _content("Incidents.", description_now.NOW)},
    "parameters": _query(**description_now.OF_NOW),
}
HOSTS: dict[str, Any] = {
    "summary": "What each host has told of itself, and when it was heard; silent ones first, then blind ones.",
    "tags": ["now"],
    "responses": {**_answers(), "200": {**_content("Hosts.", description_now.HOSTS), "headers": LINK}},
    "parameters": _query(**description_now.OF_HOSTS),
}
TIMELINE: dict[str, Any] = {
    "summary": "How many alerts, how bad, and how long services were over, in buckets of any window of time.",
    "description": "Of buckets of which not all is known, the values are null, and `partial` is true.",
    "tags": ["alerts"],
    "responses": {**_answers(), "200": _content("The timeline.", description_timeline.ANSWER)},
    "parameters": _query(
        **{name: schema for name, schema in FILTERS.items() if name != "limit"},
        **{name: CHOSEN[name] for name in COLUMNS if name in CHOSEN and name != "event"},
        **description_timeline.OWN,
    ),
}
HISTORY: dict[str, Any] = {
    "summary": description_history.MEANS,
    "tags": ["history"],
    "responses": {**_answers(), "200": _content("The history.", description_history.ANSWER)},
    "parameters": _query(from_=TIME, to=TIME, **description_history.OWN),
}
SAMPLES: dict[str, Any] = {
    "summary": "Keep samples of the queues of services.",
    "description": description_history.SAYS,
    "tags": ["history"],
    "responses": {**_answers(408, 413, 415), "200": _content("They are kept.", description_history.KEPT)},
    "requestBody": description_batch.BODY,
}
STREAM: dict[str, Any] = {
    "summary": "New entries as they come, as server-sent events; Last-Event-ID resumes.",
    "tags": ["alerts"],
    "responses": {**_answers(), "200": _content("A stream.", TEXT, "text/event-stream")},
}
STATE: dict[str, Any] = {
    "summary": "Whether the database can be written and read.",
    "tags": ["state"],
    "responses": {**_answers(), "200": _content("It can.", {"type": "object"})},
}
METRICS: dict[str, Any] = {
    "summary": "Counters for Prometheus.",
    "tags": ["state"],
    "responses": {**_answers(), "200": _content("Text.", TEXT, "text/plain")},
}


def document() -> dict[str, Any]:
    """Return the whole description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "sockbpf store", "version": __version__},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
        "paths": {
            "/alert": {"get": ALERT},
            "/alerts": {"post": ALERTS},
            "/store.json": {"get": FIND, "post": POST, "delete": DELETE},
            "/episodes": {"get": EPISODES},
            "/timeline": {"get": TIMELINE},
            "/history": {"get": HISTORY, "post": SAMPLES},
            "/stream": {"get": STREAM},
            "/now": {"get": NOW},
            "/hosts": {"get": HOSTS},
            "/healthz": {"get": STATE},
            "/metrics": {"get": METRICS},
        },
    }
