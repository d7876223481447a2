# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`python -m package FOLDER` writes the manual pages and the completion there."""

from __future__ import annotations

import sys
from pathlib import Path

from package import commands, completion, settings

FILES = {
    "sockbpf.8": commands.sockbpf,
    "check_sockbpf.8": commands.check_sockbpf,
    "sockbpf.yaml.5": settings.settings,
} | completion.FILES


def main(folder: Path) -> None:
    """Write every file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
