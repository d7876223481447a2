# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The screens in docs/top.md are what the command makes, and fit their sizes."""

from __future__ import annotations

import pytest

from tests.unit.top_screens import FILE, SCREENS, document, screen


def test_the_document_shows_what_the_command_makes() -> None:
    assert document(FILE.read_text()) == FILE.read_text(), "python -m tests.unit.top_screens writes them anew"


@pytest.mark.parametrize("name", SCREENS)
def test_each_screen_fits_its_size(name: str) -> None:
    width, height, keys = SCREENS[name]
    lines = screen(width, height, keys).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
