# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What bash, zsh and fish complete, in a terminal: commands, the options of one, files, those of the plug-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from package.completion import FILES
from sockbpf.cli import COMMANDS
from tests.live.terminals import Terminal, terminal

SHELLS = {
    "bash": "bash --norc --noprofile -i",
    "zsh": "zsh -f -i",
    "fish": "fish --no-config -i",
}
PREPARED = {
    "bash": "PS1='$ '; for file in *.bash; do source $file; done",
    "zsh": "PS1='$ '; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D",
    "fish": "for file in *.fish; source $file; end",
}
CLEAR = "C-u", "C-l"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """Start a shell where the scripts are, and have it read them."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name, text in FILES.items():
        program, kind = name.split(".")
        (folder / (f"_{program}" if kind == "zsh" else name)).write_text(text())
    (folder / "other-settings.yaml").touch()
    name = request.param
    with terminal(tmp_path / "tmux", f"cd {folder} && HOME={folder} {SHELLS[name]}", (160, 50)) as made:
        made.type(f"{PREPARED[name]}; echo prep''ared\n")
        made.shows("prepared")
        yield made


def offered(shell: Terminal, typed: str, *texts: str) -> str:
    """Type, press the tab key, and return the screen that shows all of these texts."""
    shell.press(*CLEAR)
    shell.type(typed)
    shell.press("Tab", "Tab")
    return shell.shows(*texts)


def test_what_is_offered(shell: Terminal) -> None:
    offered(shell, "sockbpf ", *COMMANDS)
    assert "--beside" not in offered(shell, "sockbpf status --", "--json", "--socket")
    offered(shell, "check_sockbpf --", "--warning", "--rates")
    offered(shell, "sockbpf check -c other-s", "sockbpf check -c other-settings.yaml")
