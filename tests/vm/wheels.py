# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `make setup` and the image install of PyPI, fetched once: what tests make of them asks no index."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from tests.vm.machines import AMD64
from tests.vm.packages import CACHE, made_once

REPOSITORY = Path(__file__).parents[2]
CONSTRAINTS, HASHED = REPOSITORY / "constraints.txt", REPOSITORY / "package" / "requirements.txt"


def wheels() -> Path:
    """Return the folder with the wheels, for the Python of Debian 12."""
    wanted = [line for line in importlib.metadata.requires("sockbpf") or [] if "extra ==" not in line]

    def fetch(folder: Path) -> None:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-qq",
            "--disable-pip-version-check",
            "-d",
            str(folder),
        ]
        pip += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
        pip += [f"--platform={name}" for name in AMD64.wheels]
        subprocess.run([*pip, "-c", CONSTRAINTS, "setuptools", *wanted], check=True)
        subprocess.run([*pip, "--no-deps", "-r", HASHED], check=True)

    recipe = [wanted, CONSTRAINTS.read_text(), HASHED.read_text()]
    return made_once(CACHE / "wheels", recipe, fetch)
