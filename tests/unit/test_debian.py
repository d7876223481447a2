# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The Debian package says of itself what the project says: version, Pythons, versions of what it brings along."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from sockbpf import __version__

ROOT = Path(__file__).parents[2]


def text(path: str) -> str:
    return (ROOT / path).read_text()


def test_its_version_is_the_project_s() -> None:
    assert re.match(r"sockbpf \((.*?)\) ", text("debian/changelog"))[1] == __version__  # type: ignore[index]


def test_it_depends_on_the_pythons_that_it_is_built_for() -> None:
    """Each by its number and, as there is no library for the next, below that."""
    pythons = re.search(r"(?m)^DEB_PYTHONS := (.*)$", text("Makefile"))
    assert pythons
    minors = [int(python.removeprefix("3.")) for python in pythons[1].split()]
    least = [f"python3 (>= 3.{minors[0]}~)"]
    between = [
        f"python3 (<< 3.{low + 1}~) | python3 (>= 3.{high}~)"
        for low, high in itertools.pairwise(minors)
        if high > low + 1
    ]
    wanted = ", ".join([*least, *between, f"python3 (<< 3.{minors[-1] + 1}~)"])
    assert f"Depends: {wanted}, python3-bpfcc" in text("debian/control")


def test_what_it_is_made_of_is_in_the_copy() -> None:
    parts = re.search(r"(?m)^PARTS := (.*)$", text("Makefile"))
    assert parts
    assert set(text("debian/sockbpf.docs").split()) <= set(parts[1].split())
    assert all((ROOT / part).exists() for part in parts[1].split())


def test_what_it_brings_along_is_what_was_tried() -> None:
    pins = re.compile(r"(?m)^([a-z0-9-]+==\S+)")
    tried = set(pins.findall(text("constraints.txt")))
    brought = pins.findall(text("package/requirements.txt"))
    assert brought
    assert set(brought) <= tried
    hashes = text("package/requirements.txt").count("--hash=sha256:")
    assert hashes > len(brought)
