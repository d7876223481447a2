# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The OpenAPI description of `/now` and `/hosts`: their parameters and what they answer."""

from __future__ import annotations

from typing import Any

from sockbpf.record.event import Direction
from sockbpf.record.labels import MOST_LABELS
from sockbpf.store.data.filters import MOST_ROWS, ROWS
from sockbpf.store.data.free_words import MOST_CHARACTERS, MOST_WORDS, PATTERN
from sockbpf.store.data.host_filters import CURSOR, LABEL
from sockbpf.store.data.incidents import KINDS, MOST_LISTED, OF_THE_WORST
from sockbpf.store.data.states import NOT_HEARD, OVER, SILENT, STATES_OF_HOST

TEXT: dict[str, Any] = {"type": "string"}
TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
WHOLE_OR_NULL: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0}
TIME: dict[str, Any] = {"type": "number", "description": "Unix time"}
TIME_OR_NULL: dict[str, Any] = {"type": ["number", "null"], "description": "Unix time"}
NUMBERS = frozenset(
    {"local_port", "remote_port", "netns", "pid", "size", "peak", "threshold", "limit", "fill", "peer_pid"}
)
LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": ROWS}
HOST = {"type": "string", "minLength": 1}
_OF_BOTH: dict[str, Any] = {"limit": LIMIT, "host": HOST}
OF_NOW: dict[str, Any] = {**_OF_BOTH, "open": {"type": "string", "enum": ["true"]}}
"""The parameters of each, and the schemas of them."""
OF_HOSTS: dict[str, Any] = {
    **_OF_BOTH,
    "state": {"type": "string", "enum": list(STATES_OF_HOST)},
    "label": {
        "type": "array",
        "maxItems": MOST_LABELS,
        "items": {"type": "string", "pattern": LABEL},
        "description": "name=value, as often as there are labels; a host has all of them",
    },
    "version": {"type": "string", "minLength": 1},
    "blind": {"type": "string", "enum": ["true", "false"], "description": "whether it may not see all"},
    "text": {
        "type": "string",
        "minLength": 1,
        "maxLength": MOST_CHARACTERS,
        "pattern": PATTERN,
        "description": f"words, {MOST_WORDS} at most, each of which stands in the host's name",
    },
    "cursor": {"type": "string", "pattern": CURSOR, "description": "from a Link header"},
}
TRUNCATED = {"type": "boolean", "description": "whether there is more than is answered"}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _of_the_worst(name: str) -> dict[str, Any]:
    if name == "last":
        return TIME_OR_NULL
    if name == "type":
        return {"enum": [*(each.name for each in Direction), None]}
    return WHOLE_OR_NULL if name in NUMBERS else TEXT_OR_NULL


INCIDENT = _object(
    kind={"type": "string", "enum": list(KINDS)},
    host=TEXT,
    service=TEXT_OR_NULL,
    service_kind={"enum": ["unit", "container", "counter", "process", "port", "remote", None]},
    state={"type": "string", "enum": [OVER, NOT_HEARD, SILENT]},
    severity=TEXT_OR_NULL,
    cause=TEXT_OR_NULL,
    **{name: _of_the_worst(name) for name in OF_THE_WORST},
    change={
        "type": ["number", "null"],
        "description": "by how many bytes a second the worst one grew between its last two alerts; below 0 it drains",
    },
    since={**TIME, "description": "Unix time: when the first of its queues was over"},
    heard={**TIME, "description": "Unix time of the last word's arrival, by the store's clock"},
    count={**WHOLE, "description": "how many queues; of silent hosts, how many were over"},
    drops=WHOLE,
    episodes={"type": "array", "items": TEXT, "description": "ids, the worst first"},
    other_ends={"type": "array", "items": TEXT, "description": "ids of the other ends within the host"},
    other_services={"type": "array", "items": TEXT, "description": "whose those are, named as `service` is"},
    trusted={
        "type": "boolean",
        "description": "whether the monitor's user, or somebody with the token, told it",
    },
    remote={**TEXT_OR_NULL, "description": "address and port of the service that several hosts wait for"},
    hosts={**WHOLE, "description": "how many hosts are silent, blind, or wait for `remote`; else 1"},
    host_names={
        "type": "array",
        "items": TEXT,
        "description": f"{MOST_LISTED} of them at most, the worst first",
    },
    labels={
        "type": "array",
        "items": TEXT,
        "description": "what nearly all of the silent hosts have, as dc=fra1",
    },
    elsewhere={
        "type": "array",
        "items": _object(host=TEXT, id=TEXT),
        "description": "the worst episode of each",
    },
)
NOW = _object(
    at=TIME,
    episodes=_object(over=WHOLE, not_heard=WHOLE, silent=WHOLE),
    hosts=_object(**dict.fromkeys(STATES_OF_HOST, WHOLE), all_heard_since=TIME_OR_NULL),
    count=WHOLE,
    incidents={"type": "array", "maxItems": MOST_ROWS, "items": INCIDENT},
    truncated=TRUNCATED,
)
NOW["properties"] |= {
    "open": {
        "type": "array",
        "description": "with open=true: the episodes that are open, 5000 at most",
        "items": _object(host=TEXT, id=TEXT, state={"type": "string", "enum": [OVER, NOT_HEARD, SILENT]}),
    },
    "open_truncated": {"type": "boolean", "description": "with open=true: whether there are more of these"},
}
OF_A_HOST = _object(
    host=TEXT,
    state={"type": "string", "enum": list(STATES_OF_HOST)},
    last={**TIME, "description": "Unix time of its last word, by its own clock"},
    heard={**TIME, "description": "Unix time of that word's arrival, by the store's clock"},
    event=TEXT_OR_NULL,
    run=TEXT_OR_NULL,
    since={**TIME_OR_NULL, "description": "Unix time: when that run started, if it has told so"},
    version=TEXT_OR_NULL,
    kernel=TEXT_OR_NULL,
    mode=TEXT_OR_NULL,
    unseen={**TEXT_OR_NULL, "description": "what has no hook"},
    repeat=TIME_OR_NULL | {"description": "seconds; 0: it never tells `ongoing`"},
    heartbeat=TIME_OR_NULL | {"description": "seconds; 0: it tells none"},
    open={**WHOLE_OR_NULL, "description": "how many episodes its monitor has open"},
    silences={**TEXT_OR_NULL, "description": "of which queues its monitor tells nothing, and until when"},
    over={**WHOLE, "description": "how many of its episodes are over, by what was told"},
    lost={**WHOLE_OR_NULL, "description": "the sum of its counters of losses"},
    lost_at={**TIME_OR_NULL, "description": "Unix time of the last loss"},
    blind={"type": "array", "items": TEXT, "description": "why it may not see all that is over"},
    labels={"type": "object", "additionalProperties": TEXT, "description": "as its settings have them"},
    counters={"type": "object", "additionalProperties": WHOLE, "description": "those of it that are not 0"},
    trusted={"type": "boolean"},
)
HOSTS = _object(
    at=TIME,
    counts=_object(**dict.fromkeys(STATES_OF_HOST, WHOLE)),
    blind={**WHOLE, "description": "how many may not see all"},
    versions={"type": "array", "items": _object(version=TEXT, count=WHOLE)},
    labels={
        "type": "array",
        "items": _object(
            name=TEXT,
            count=WHOLE,
            values={"type": "array", "items": _object(value=TEXT, count=WHOLE)},
            more={**WHOLE, "description": "how many further values there are"},
        ),
    },
    hosts={"type": "array", "maxItems": MOST_ROWS, "items": OF_A_HOST},
    truncated=TRUNCATED,
)
