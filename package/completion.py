# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a shell completes of `sockbpf` and `check_sockbpf`, made of their parsers."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import shtab

from sockbpf.cli import door
from sockbpf.plugin import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def completion(shell: str, make: Callable[[], argparse.ArgumentParser]) -> str:
    """Return the script for a shell; where an option takes a path, files are offered."""
    parser = make()
    for action in _every_action(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell)


def _every_action(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to ask
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for one in action.choices.values():
                yield from _every_action(one)


FILES = {
    f"{name}.{shell}": partial(completion, shell, make)
    for name, make in (("sockbpf", door), ("check_sockbpf", check.parser))
    for shell in ("bash", "zsh", "fish")
}
"""File -> what makes its text."""
