# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Every file that CONTRIBUTING names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.unit.copies import ROOT

MADE = ("tests/unit/test_spool.py", "sockbpf/delivery/destinations/spool.py")
"""What the reader is shown how to write."""


def spelled_out(name: str) -> Iterator[str]:
    """Yield the names that one with braces stands for, as a shell does."""
    head, brace, rest = name.partition("{")
    if not brace:
        yield name
        return
    inner, _, tail = rest.partition("}")
    for each in inner.split(","):
        yield from spelled_out(f"{head}{each}{tail}")


def names() -> set[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    written = re.findall(r"`([\w{][\w./{},-]*)`", text)
    files = {name for name in written if name.endswith((".py", ".h", ".c", ".md", ".yaml", ".toml", "/"))}
    return {each for name in files for each in spelled_out(name)}


def is_there(name: str) -> bool:
    """Whether it is there; what is named without a folder lies somewhere in bpf/ or tests/."""
    return (ROOT / name).exists() or any(
        "/" not in name and any((ROOT / folder).rglob(name)) for folder in ("bpf", "tests")
    )


def test_every_file_that_is_named_is_there() -> None:
    found = names()
    assert len(found) > 100
    assert not [name for name in sorted(found) if not is_there(name) and name not in MADE]
