# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A manual page in the macros of man(7): text in, every character of it shown as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def escaped(text: str) -> str:
    """Return text that the formatter shows as it is, a hyphen as the one that can be typed."""
    shown = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("…", "...")
    return re.sub(r"(?m)^\.", "\\\\&.", shown)


def bold(text: str) -> str:
    return f"\\fB{escaped(text)}\\fP"


class Page:
    """A page that is written from its top to its end."""

    def __init__(self, name: str, section: int, version: str, summary: str) -> None:
        """Begin with its name and, in one line, what it is about."""
        self._lines = [
            '.\\" SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0',
            f'.TH {name.upper()} {section} "" "sockbpf {version}" "sockbpf"',
            ".SH NAME",
            f"{escaped(name)} \\- {escaped(summary)}",
        ]

    def section(self, title: str) -> None:
        self._lines.append(f".SH {title.upper()}")

    def subsection(self, title: str) -> None:
        self._lines.append(f'.SS "{escaped(title)}"')

    def paragraph(self, text: str) -> None:
        """Add text; what stands in `backquotes` is bold."""
        self._lines += [".PP", _marked(text)]

    def entry(self, head: str, text: str, value: str = "") -> None:
        """Add a word with what is said of it; `value` stands beside the word."""
        self._lines += [".TP", bold(head) + (f" {escaped(value)}" if value else ""), _marked(text) or "\\&"]

    def verbatim(self, lines: Iterable[str]) -> None:
        """Add lines that stay as they are."""
        self._lines += [".PP", ".RS 4", ".nf", *map(escaped, lines), ".fi", ".RE"]

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _marked(text: str) -> str:
    parts = re.split(r"`([^`]+)`", text)
    return "".join(bold(part) if place % 2 else escaped(part) for place, part in enumerate(parts))
