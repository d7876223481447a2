# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The options of `sockbpf advise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser


def add_options(parser: ArgumentParser) -> None:
    """Add them to the parser of the command."""
    add = parser.add_argument
    add("-c", "--config", type=Path, metavar="FILE", help="the configuration, which leads to the store")
    add("--since", metavar="TIME", default="7d", help="how far back: 1h to 14d; %(default)s")
    add("--service", metavar="NAME", default="", help="one unit or port, with all that was tried")
    add("--host", metavar="NAME", default="", help="another host that the store knows")
    add("--json", action="store_true", help="one object in one line")
    add("--write", action="store_true", help="the proposals, as rules of the configuration")
