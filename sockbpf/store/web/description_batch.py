# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the OpenAPI description says of `POST /alerts`: its body and its answer."""

from __future__ import annotations

from typing import Any

from sockbpf.store.web.posted_alerts import ENCODINGS, MOST_BYTES, MOST_LINES, MOST_OF_LINE

SAYS = (
    "Names and values are those of the parameters of /alert, numbers may be numbers or texts. A line that is refused "
    f"keeps no other out; the same alert is kept once. At most {MOST_LINES} lines of {MOST_OF_LINE} bytes each, "
    f"{MOST_BYTES} bytes in all once decompressed; Content-Encoding may be {' or '.join(ENCODINGS)}."
)
KINDS = ("application/x-ndjson", "text/plain")
"""Media types of the body; any other is taken too."""
NUMBER = {"type": "integer", "minimum": 0, "maximum": MOST_LINES}
ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["new", "known", "refused"],
    "properties": {
        "new": NUMBER,
        "known": NUMBER,
        "refused": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["row", "why"],
                "properties": {
                    "row": {**NUMBER, "minimum": 1, "description": "which line, the first is 1"},
                    "why": {"type": "string"},
                },
            },
        },
    },
}
BODY = {
    "required": True,
    "content": {kind: {"schema": {"type": "string", "minLength": 1}} for kind in KINDS},
}
