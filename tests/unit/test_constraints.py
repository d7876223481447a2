# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""constraints.txt pins what pyproject.toml asks for, and this environment was built of it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path(__file__).parents[2] / "constraints.txt"
REMEDY = "`make constraints` writes it anew, then `make setup`"


def pinned() -> dict[str, str]:
    """Return the version of each package that is pinned for this Python and this machine."""
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    here = [each for each in found if each.marker is None or each.marker.evaluate()]
    assert all(str(each.specifier).startswith("==") for each in here)
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in here}


def wanted() -> list[Requirement]:
    return [Requirement(line) for line in importlib.metadata.requires("sockbpf") or []]


def test_all_that_is_asked_for_is_pinned_within_its_range() -> None:
    versions = pinned()
    assert wanted()
    for each in wanted():
        version = versions.get(canonicalize_name(each.name))
        assert version, f"{each.name} is not in constraints.txt: {REMEDY}"
        assert each.specifier.contains(version), f"{each.name} {version} is not {each.specifier}: {REMEDY}"


def test_this_environment_is_built_of_it() -> None:
    versions = pinned()
    for name in (canonicalize_name(each.name) for each in wanted()):
        assert importlib.metadata.version(name) == versions[name], f"{name}: {REMEDY}"
