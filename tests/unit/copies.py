# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Copies of the tree in which something is added as CONTRIBUTING.md says, and how many files that takes."""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copied(tree: Path, names: Iterable[str]) -> Path:
    """Copy these files and folders of the project into `tree`, and return it."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            tree.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def replace_once(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: the place to edit has moved: {old}"
    file.write_text(text.replace(old, new))


def changed(tree: Path) -> set[str]:
    """Return the files of a copy that the project has not, or has otherwise."""
    files = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    return {
        str(path)
        for path in files
        if not (ROOT / path).is_file() or not filecmp.cmp(tree / path, ROOT / path, shallow=False)
    }


def run(tree: Path, *arguments: str) -> str:
    """Run this Python in a copy, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-B", *arguments], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def section(title: str) -> str:
    """Return the text of CONTRIBUTING.md under this title."""
    said = re.search(
        rf"^## {title}\n(.*?)^## ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert said, f"CONTRIBUTING.md has no section {title!r}"
    return said[1]


def not_named(files: Iterable[str], title: str) -> list[str]:
    """Return the files that CONTRIBUTING.md does not name under this title."""
    text = section(title)
    return [file for file in files if f"`{file}`" not in text]
