# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf status`: what the running monitor says of itself and of what is over now."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from rich.console import Console

from sockbpf.commands.status_page import page
from sockbpf.errors import UnsupportedError
from sockbpf.monitor.asking import ask

if TYPE_CHECKING:
    from pathlib import Path

HANGS = "hangs"


def status(path: Path, *, as_json: bool) -> int:
    """Print the status of the monitor that answers at this socket; return 0, or 3 if it hangs."""
    told = ask(path)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads the page has seen enough, as `head` does
    if as_json:
        print(json.dumps(told))
        return UnsupportedError.exit_code if told["state"] == HANGS else 0
    if told["state"] == HANGS:
        raise UnsupportedError(
            f"the monitor, process {told.get('pid')}, hangs: {'; '.join(map(str, told.get('blind', [])))}. "
            "Remedy: see its log; `systemctl restart sockbpf`"
        )
    try:
        parts = list(page(told))
    except (KeyError, TypeError, ValueError) as fault:
        raise UnsupportedError(
            f"the monitor at {path} is of another version, {told.get('version')}: its status lacks {fault}. "
            "Remedy: restart it; or --json, which shows all that it says"
        ) from None
    out = Console(highlight=False)
    for part in parts:
        out.print(part)
    return 0
