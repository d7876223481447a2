# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The labels of a host as one text, `dc=fra1;role=db`, sorted by name; in a value `;` is %3B and `%` is %25. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_LABELS = 16
MOST_NAME, MOST_VALUE = 32, 64
"""Characters."""
IS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch


def is_label(name: str, value: str) -> bool:
    """Whether a host may have this label: a name as Prometheus has them, and a value, one line that is not empty."""
    is_named = bool(IS_NAME(name)) and len(name) <= MOST_NAME
    return is_named and 0 < len(value) <= MOST_VALUE and value.isprintable() and value.strip() == value


def text_of(labels: Mapping[str, str]) -> str:
    """Return labels as one text."""
    return ";".join(label_text(name, labels[name]) for name in sorted(labels))


def label_text(name: str, value: str) -> str:
    """Return one label as it stands in that text."""
    return f"{name}={value.replace('%', '%25').replace(';', '%3B')}"


def labels_of(text: str) -> dict[str, str]:
    """Return the labels in such a text, from whomever it is: what is no label is left out, and so are too many."""
    found: dict[str, str] = {}
    for each in text.split(";"):
        name, _, written = each.partition("=")
        value = written.replace("%3B", ";").replace("%25", "%")
        if is_label(name, value) and len(found) < MOST_LABELS:
            found.setdefault(name, value)
    return found
