# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the OpenAPI description says of `GET /advice`."""

from __future__ import annotations

from typing import Any

from sockbpf.judge.advice_proposal import MOST
from sockbpf.store.web.advice import MOST_HOLD_S, MOST_OFFSET_S
from sockbpf.store.web.description_history import NAMES
from sockbpf.store.web.description_parts import TEXT, TIME, answers, content, must, query

WHOLE = {"type": "integer", "minimum": 0}
SECONDS = {"type": "number", "minimum": 0}
SAYS = (
    "Of one service: what its queues were, how often it was told, how often other thresholds and holds would have "
    "told (`exact`, or `least` to `most`, null where nothing bounds it), and what is proposed. Of the 14 days before "
    "`to` at most. The store does not know the settings of a host: `assumed` says which it takes."
)
OWN: dict[str, dict[str, Any]] = {
    **{name: must(schema) for name, schema in NAMES.items()},
    "from_": TIME,
    "to": TIME,
    "threshold": {"type": "integer", "minimum": 0, "maximum": MOST, "description": "the present one, bytes"},
    "hold": {
        "type": "number",
        "minimum": 0,
        "maximum": MOST_HOLD_S,
        "description": "the present one, seconds",
    },
    "utc_offset": {
        "type": "integer",
        "minimum": -MOST_OFFSET_S,
        "maximum": MOST_OFFSET_S,
        "default": 0,
        "description": "seconds that the clock, of which hours are told, is ahead of UTC",
    },
}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


SPREAD = _object(p50=WHOLE, p99=WHOLE, top=WHOLE)
RUNG = _object(
    threshold=WHOLE, hold=SECONDS, least=WHOLE, seen=WHOLE, most=_or_null(WHOLE), exact={"type": "boolean"}
)
ANSWER = _object(
    **{"from": WHOLE, "to": WHOLE},
    **NAMES,
    size=SPREAD,
    fill=SPREAD,
    busy_s=WHOLE,
    told=WHOLE,
    by_looks=WHOLE,
    tried={"type": "array", "items": RUNG},
    proposal=_or_null(RUNG),
    process=_or_null(TEXT),
    reason=TEXT,
    present=_or_null(_object(threshold=WHOLE, hold=SECONDS)),
    assumed=TEXT,
    rule=_or_null({**TEXT, "description": "YAML for the list of rules of the host"}),
)
ADVICE: dict[str, Any] = {
    "summary": "What other thresholds would have told of one service, and what is proposed.",
    "description": SAYS,
    "tags": ["history"],
    "responses": {**answers(), "200": content("The advice.", ANSWER)},
    "parameters": query(**OWN),
}
