# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The OpenAPI schemas of `/timeline`: its own parameters, and its answer."""

from __future__ import annotations

from typing import Any

from sockbpf.store.web.timeline import BUCKETS, MOST_BUCKETS, MOST_TOP, TOP

TEXT = {"type": "string"}
OWN: dict[str, dict[str, Any]] = {
    "service": {**TEXT, "description": "unit, container or process, else protocol and port"},
    "buckets": {"type": "integer", "minimum": 1, "maximum": MOST_BUCKETS, "default": BUCKETS},
    "top": {"type": "integer", "minimum": 0, "maximum": MOST_TOP, "default": TOP},
}
PARTS: dict[str, dict[str, Any]] = {
    "counts": {"type": "object", "description": "by type and event, how many alerts in each bucket"},
    "worst_fill": {
        "type": "array",
        "items": {"type": ["integer", "null"]},
        "description": "percent of the buffer",
    },
    "worst_ratio": {
        "type": "array",
        "items": {"type": ["number", "null"]},
        "description": "size / threshold",
    },
    "open_s": {
        "type": "array",
        "items": {"type": ["number", "null"]},
        "description": "seconds that queues were over",
    },
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["from", "to", "width", "times", "partial", "known_from", *PARTS, "services", "others"],
    "properties": {
        **{name: {"type": "integer"} for name in ("from", "to", "width")},
        "times": {"type": "array", "items": {"type": "integer"}},
        "partial": {"type": "boolean"},
        "known_from": {"type": ["number", "null"]},
        **PARTS,
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["service", *PARTS],
                "properties": {"service": TEXT, **PARTS},
            },
        },
        "others": {"type": "object", "required": ["open_s"], "properties": {"open_s": PARTS["open_s"]}},
    },
}
