# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reading alerts in the log of a monitor: `key=value` words, values with a space, `=` or `"` in quotes."""

from __future__ import annotations

import re

WORD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')


def fields_of(line: str) -> dict[str, str]:
    """Return the fields of an alert's line."""
    return {
        name: value[1:-1].encode().decode("unicode_escape") if value[:1] == '"' else value
        for name, value in WORD.findall(line)
    }
