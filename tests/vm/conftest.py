# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The option and the closing table of the kernel matrix."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.markdown import Markdown

from tests.vm.packages import CACHE
from tests.vm.results import RESULTS

TABLE = CACHE / "table.md"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was tried and write it as Markdown, for the README."""
    if not RESULTS:
        return
    rows = [
        "| kernel | hooks | types | look | tests | boot s | armed s | whole s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [result.row() for result in RESULTS]
    unseen = dict.fromkeys(line for result in RESULTS if (line := result.left_unseen()))
    text = "\n".join([*rows, "", "Left unseen by the hooks, to the sweeps:", "", *unseen])
    Path(TABLE).write_text(text + "\n")
    shown = io.StringIO()
    Console(file=shown, width=124).print(Markdown(text))
    terminalreporter.write_line(shown.getvalue())
