# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The Python libraries that a package of the distribution brings along: wheels, each known by its hash.

    python -m package.vendor CHECKOUT FOLDER ARCHITECTURE PYTHON…

makes of a checkout and of package/requirements.txt what FOLDER/lib is in a virtual environment, for several Pythons:
lib/common has what any of them runs, lib/python3.X/site-packages what is compiled for one. BCC is the system's.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""The distribution's name of an architecture -> the wheels that run there: those for a libc of 2018 or older."""

UV = Path(sys.executable).with_name("uv")


def main(checkout: Path, folder: Path, architecture: str, pythons: list[str]) -> None:
    """Install for each Python, then put together what they share."""
    common = folder / "lib" / "common"
    shutil.rmtree(folder / "lib", ignore_errors=True)
    common.mkdir(parents=True)
    for python in pythons:
        into = folder / "lib" / f"python{python}" / "site-packages"
        wanted = ["--require-hashes", "--requirement", str(ROOT / "package" / "requirements.txt")]
        install(into, python, architecture, "--only-binary=:all:", *wanted)
        for metadata in into.glob("*.dist-info"):
            if is_for_any_python(metadata):
                move(metadata, into, common)
        (into / "sockbpf.pth").write_text("../../common\n")
    install(common, pythons[0], architecture, checkout)
    for folder_of_scripts in folder.glob("lib/**/bin"):
        shutil.rmtree(folder_of_scripts)


def install(into: Path, python: str, architecture: str, *what: str | Path) -> None:
    """Install for a Python and a machine that need not be these; whatever is not wanted by name stays away."""
    how = ["--no-deps", "--no-compile", "--link-mode=copy", f"--target={into}"]
    whom = [f"--python-version={python}", f"--python-platform={PLATFORMS[architecture]}"]
    command: list[str | Path] = [UV, "pip", "install", "-q", *how, *whom, *what]
    subprocess.run(
        command, check=True, env=os.environ | {"UV_BUILD_CONSTRAINT": str(ROOT / "constraints.txt")}
    )


def is_for_any_python(metadata: Path) -> bool:
    """Whether every Python runs these files; they can be compiled all the same, for the stable ABI."""
    tags = [line for line in (metadata / "WHEEL").read_text().splitlines() if line.startswith("Tag: ")]
    return all("-none-" in tag or "-abi3-" in tag for tag in tags)


def move(metadata: Path, source: Path, target: Path) -> None:
    """Move all that a wheel brought, its metadata too; what is there already is the same wheel's."""
    with (metadata / "RECORD").open(newline="") as record:
        names = {Path(row[0]).parts[0] for row in csv.reader(record)} - {"..", "bin"}
    for name in names:
        if (target / name).exists():
            shutil.rmtree(source / name) if (source / name).is_dir() else (source / name).unlink()
        else:
            (source / name).rename(target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
