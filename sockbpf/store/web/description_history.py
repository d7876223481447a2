# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The OpenAPI schemas of `/history`: its parameters, its body, its answers."""

from __future__ import annotations

from typing import Any

from sockbpf.record.history import PROTOCOLS, STEP_S, TYPES
from sockbpf.store.web.description_batch import NUMBER
from sockbpf.store.web.history import LIMIT, MOST_LIMIT, MOST_TOP, TOP
from sockbpf.store.web.posted_history import MOST_OF_LINE, MOST_SAMPLES, MOST_SPAN_S

TEXT = {"type": "string"}
WHOLE = {"type": "integer", "minimum": 0}
NAMES: dict[str, dict[str, Any]] = {
    "host": {**TEXT, "minLength": 1},
    "service": {**TEXT, "minLength": 1, "description": "a systemd unit, else a port, else `other`"},
    "protocol": {**TEXT, "enum": list(PROTOCOLS)},
    "type": {**TEXT, "enum": list(TYPES)},
}
OWN: dict[str, dict[str, Any]] = {
    **NAMES,
    "top": {"type": "integer", "minimum": 0, "maximum": MOST_TOP, "default": TOP},
    "limit": {"type": "integer", "minimum": 0, "maximum": MOST_LIMIT, "default": LIMIT},
}
SAYS = (
    f"Each line has host, service, protocol, type, and the lists at, size, fill, sockets, drops, of at most "
    f"{MOST_SAMPLES} whole numbers and of the same length: Unix times, multiples of {STEP_S}, within {MOST_SPAN_S} "
    "s, and what the largest queue, the fullest one (percent), those that were not empty and the drops were in the "
    f"step after each. At most {MOST_OF_LINE} bytes a line; lines in all, bytes and compression as of /alerts. "
    "A sample that comes again changes nothing. The token is required, or the monitor's own user."
)
MEANS = (
    "What the queues of services were, over or not, in steps of any window of time; the worst first. "
    "`series` are the `top` worst of `services`, in steps: null where all queues were empty, or nobody looked. "
    "`services` tells of each series in the whole hours of the window; `more` says how many are left out."
)
UNITS = {
    "size": "bytes of the largest queue; of ACCEPT connections",
    "fill": "percent, of the fullest queue",
    "sockets": "how many queues were not empty at once",
    "drops": "in all",
}
ROWS = {"type": "object", "properties": {"row": NUMBER, "why": TEXT}, "required": ["row", "why"]}
KEPT: dict[str, Any] = {
    "type": "object",
    "required": ["samples", "refused", "too_old"],
    "properties": {
        "samples": WHOLE,
        "refused": {"type": "array", "items": ROWS},
        "too_old": {**WHOLE, "description": "samples left out, as older than what is kept"},
    },
}


def _values(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a series with values of this schema."""
    return {
        "type": "object",
        "required": [*NAMES, *UNITS],
        "properties": {**NAMES, **{name: {**schema, "description": says} for name, says in UNITS.items()}},
    }


ANSWER: dict[str, Any] = {
    "type": "object",
    "required": [
        "from", "to", "width", "times", "series", "services_from", "services_to", "services", "more",
    ],
    "properties": {
        **dict.fromkeys(("from", "to", "width", "services_from", "services_to", "more"), WHOLE),
        "times": {"type": "array", "items": WHOLE},
        "series": {
            "type": "array",
            "items": _values({"type": "array", "items": {"type": ["integer", "null"], "minimum": 0}}),
        },
        "services": {"type": "array", "items": _values(WHOLE)},
    },
}  # fmt: skip
