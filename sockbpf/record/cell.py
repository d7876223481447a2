# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Texts that others may have chosen, as cells of CSV that are safe to open in a spreadsheet."""

from __future__ import annotations

import re
import sys

ESCAPE = None if sys.version_info >= (3, 11) else "\U0010ffff"
"""A character that no text has. Before 3.11 Python's csv takes NUL for the escape character if it is given none."""

FORMULA = re.compile(r"[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n\0]").match
"""The beginning of a text that a spreadsheet would run as a formula, also in full-width characters."""
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?").fullmatch


def harmless(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs as a formula; a number stays a number."""
    return f"'{text}" if FORMULA(text) and not NUMBER(text) else text
