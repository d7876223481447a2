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
from sockbpf.store.web.description_advice import ADVICE
from sockbpf.store.web.description_parts import TEXT, TIME, answers, content, must, query
from sockbpf.store.web.posted import MOST_ENTRIES

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
CHOSEN = {name: {"type": "string", "enum": list(choices)} for name, choices in CHOICES.items()}


def _parameter(field: Field) -> dict[str, Any]:
    """Return the schema of a field in the request of an alert."""
    schema: dict[str, Any] = dict(CHOSEN.get(field.name, KINDS[field.kind]))
    if field.needed is Needed.ALWAYS and schema == TEXT:
        schema["minLength"] = 1
    schema["description"] = f"{field.unit}: {field.meaning}" if field.unit else field.meaning
    return must(schema) if field.needed is Needed.ALWAYS else schema


NEW = {"type": "object", "required": ["new"], "properties": {"new": {"type": "boolean"}}}
OBJECTS = {"type": "array", "items": {"type": "object"}}

ALERT: dict[str, Any] = {
    "summary": "Keep an alert; answered once it is on disk. The same alert is kept once, however often it comes.",
    "description": f"All of {', '.join(NEEDED)} are required, except of a heartbeat; of an alert about a socket "
    f"also {', '.join(NEEDED_OF_SOCKETS)}, of a rate {', '.join(NEEDED_OF_RATES)}.",
    "tags": ["alerts"],
    "responses": {
        **answers(429),
        "200": content("It is kept.", NEW),
    },
    "parameters": query(**{field.name: _parameter(field) for field in FIELDS}),
}
ALERTS: dict[str, Any] = {
    "summary": "Keep many alerts, each as a JSON object on a line of its own; answered once they are on disk.",
    "description": description_batch.SAYS,
    "tags": ["alerts"],
    "responses": {
        **answers(408, 413, 415, 429),
        "200": content(
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
        **answers(),
        "200": {
            "headers": LINK,
            "description": "Objects as they were sent; the Link header, rel=next, leads to the next page.",
            "content": {"application/json": {"schema": OBJECTS}, "text/csv": {"schema": TEXT}},
        },
    },
    "parameters": query(
        **FILTERS,
        **{name: schema for name, schema in COLUMNS.items() if name in CHOSEN},
        cursor=CURSOR,
    ),
}
EPISODES: dict[str, Any] = {
    "summary": "Episodes: when each began, its peak, when it ended.",
    "tags": ["alerts"],
    "responses": {**answers(), "200": {**content("Episodes.", OBJECTS), "headers": LINK}},
    "parameters": query(
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
        **answers(408, 413, 429),
        "201": content("All of it is on disk.", STORED),
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
        **answers(408, 413),
        "200": content("How many entries were deleted; `more` if there was no time for all.", DELETED),
    },
    "parameters": query(
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
    "responses": {**answers(), "200": content("Incidents.", description_now.NOW)},
    "parameters": query(**description_now.OF_NOW),
}
HOSTS: dict[str, Any] = {
    "summary": "What each host has told of itself, and when it was heard; silent ones first, then blind ones.",
    "tags": ["now"],
    "responses": {**answers(), "200": {**content("Hosts.", description_now.HOSTS), "headers": LINK}},
    "parameters": query(**description_now.OF_HOSTS),
}
TIMELINE: dict[str, Any] = {
    "summary": "How many alerts, how bad, and how long services were over, in buckets of any window of time.",
    "description": "Of buckets of which not all is known, the values are null, and `partial` is true.",
    "tags": ["alerts"],
    "responses": {**answers(), "200": content("The timeline.", description_timeline.ANSWER)},
    "parameters": query(
        **{name: schema for name, schema in FILTERS.items() if name != "limit"},
        **{name: CHOSEN[name] for name in COLUMNS if name in CHOSEN and name != "event"},
        **description_timeline.OWN,
    ),
}
HISTORY: dict[str, Any] = {
    "summary": description_history.MEANS,
    "tags": ["history"],
    "responses": {**answers(), "200": content("The history.", description_history.ANSWER)},
    "parameters": query(from_=TIME, to=TIME, **description_history.OWN),
}
SAMPLES: dict[str, Any] = {
    "summary": "Keep samples of the queues of services.",
    "description": description_history.SAYS,
    "tags": ["history"],
    "responses": {**answers(408, 413, 415), "200": content("They are kept.", description_history.KEPT)},
    "requestBody": description_batch.BODY,
}
STREAM: dict[str, Any] = {
    "summary": "New entries as they come, as server-sent events; Last-Event-ID resumes.",
    "tags": ["alerts"],
    "responses": {**answers(), "200": content("A stream.", TEXT, "text/event-stream")},
}
STATE: dict[str, Any] = {
    "summary": "Whether the database can be written and read.",
    "tags": ["state"],
    "responses": {**answers(), "200": content("It can.", {"type": "object"})},
}
METRICS: dict[str, Any] = {
    "summary": "Counters for Prometheus.",
    "tags": ["state"],
    "responses": {**answers(), "200": content("Text.", TEXT, "text/plain")},
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
            "/advice": {"get": ADVICE},
            "/stream": {"get": STREAM},
            "/now": {"get": NOW},
            "/hosts": {"get": HOSTS},
            "/healthz": {"get": STATE},
            "/metrics": {"get": METRICS},
        },
    }
