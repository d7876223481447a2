# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Every source file names its licences in its first lines, in the way that its kind writes a comment."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
LICENCES = "GPL-2.0-only OR Apache-2.0"
LINE = f"SPDX-License-Identifier: {LICENCES}"

HASH = f"# {LINE}"
SLASHES = f"// {LINE}"
STARS = f"/* {LINE} */"
BY_SUFFIX = {
    ".py": HASH,
    ".sh": HASH,
    ".service": HASH,
    ".lua": f"-- {LINE}",
    ".c": SLASHES,
    ".js": SLASHES,
    ".h": STARS,
    ".css": STARS,
    ".html": f"<!-- {LINE} -->",
}
"""As the kernel's own rules have it: a header may be read by an assembler, which knows no //."""

BY_NAME = dict.fromkeys((".ci/run", "Dockerfile", "Makefile", "Vagrantfile", "debian/rules"), HASH)
NOT_OURS = {
    "sockbpf/store/page/preact.esm.js",
    "sockbpf/store/page/uPlot.esm.js",
    "sockbpf/store/page/uPlot.min.css",
}
"""These have their own licence beside them."""


def ignored() -> set[str]:
    names = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()}
    return {*names, ".git"}


def sources() -> dict[str, str]:
    """Return the line that each source file must have, by its path from the root."""
    left_out = ignored()
    found = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in left_out and not name.endswith(".egg-info")]
        for file in files:
            path = (Path(folder) / file).relative_to(ROOT).as_posix()
            line = BY_NAME.get(path) or BY_SUFFIX.get(Path(file).suffix)
            if line and path not in NOT_OURS:
                found[path] = line
    return found


def test_there_are_sources_of_every_kind() -> None:
    found = sources()
    assert {Path(path).suffix for path in found if path not in BY_NAME} == set(BY_SUFFIX)
    assert set(BY_NAME) <= set(found)
    assert all((ROOT / path).exists() for path in NOT_OURS)


def test_every_source_names_its_licences() -> None:
    without = []
    for path, line in sources().items():
        first = (ROOT / path).read_text(errors="replace").splitlines()[:2]
        if line not in first:  # in the second where the first says how the file is read
            without.append(f"{path}: {line}")
    assert not without


def test_the_licences_are_here_and_whole() -> None:
    texts = {"GPL-2.0-only": "GNU GENERAL PUBLIC LICENSE", "Apache-2.0": "Apache License"}
    assert set(texts) == set(LICENCES.split(" OR "))
    for name, title in texts.items():
        text = (ROOT / "LICENSES" / f"{name}.txt").read_text()
        assert title in text
        assert len(text) > 10_000
        assert name in (ROOT / "LICENSE").read_text()
    assert f'license = "{LICENCES}"' in (ROOT / "pyproject.toml").read_text()
    assert f'"license": "{LICENCES}"' in (ROOT / "package.json").read_text()
