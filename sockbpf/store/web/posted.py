# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The body of `POST /store.json`: one JSON object, an array of objects, or any text."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from sockbpf.store.data.entry import Entry, posted_entry
from sockbpf.store.data.posted_text import text_entries
from sockbpf.store.web.problem import Problem

MOST_ENTRIES = 10_000
"""Entries of one request."""
JSON = "application/json"
TEXTS = ("text/plain", "text/csv")
"""The media types of bodies that are taken as text, also where they look like JSON."""


def posted_entries(body: bytes, media_type: str, *, is_trusted: bool) -> list[Entry]:
    """Return the entries of a body; raise Problem or EntryError."""
    now_s = time.time()
    return [replace(posted_entry(each, now_s), trusted=is_trusted) for each in _objects(body, media_type)]


def _objects(body: bytes, media_type: str) -> list[dict[str, Any]]:
    """Return the objects of a body; one that is not JSON is taken as text, unless its media type is JSON."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        if media_type == JSON:
            raise Problem(400, "expected UTF-8") from None
        text = body.decode("latin-1")  # every byte is kept
    looks_like_json = media_type not in TEXTS and text.lstrip()[:1] in {"{", "["}
    objects = _of_json(text, must=media_type == JSON) if media_type == JSON or looks_like_json else None
    if objects is None:
        objects = text_entries(text) if text else []
    if not 0 < len(objects) <= MOST_ENTRIES:
        raise Problem(422, f"expected 1 to {MOST_ENTRIES} objects")
    return objects


def _of_json(text: str, *, must: bool) -> list[dict[str, Any]] | None:
    """Return the objects of JSON; for other text None, or raise Problem if it `must` be JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        if must:
            raise Problem(400, "expected JSON, with different names in each object") from None
        return None
    objects = value if isinstance(value, list) else [value]
    if all(isinstance(each, dict) for each in objects):
        return objects
    if must:
        raise Problem(422, "expected an object, or an array of objects")
    return None


def _refuse(_: str) -> None:
    raise ValueError  # Python takes NaN and Infinity for JSON, the standard does not


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError  # one of two values under the same name would be lost
    return made
