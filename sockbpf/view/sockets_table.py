# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A list of sockets as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sockbpf.judge.ranking import is_over
from sockbpf.view.columns import COLUMNS
from sockbpf.view.fitting import GAP, fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sockbpf.record.socket_row import SocketRow
    from sockbpf.view.columns import Column

OVER = "bold red"


def style_of(row: SocketRow) -> str:
    """Return the style of a row by its thresholds."""
    return OVER if is_over(row) else ""


def sockets_table(
    rows: Sequence[SocketRow],
    width: int,
    columns: Sequence[Column] = COLUMNS,
    style: Callable[[SocketRow], str] = style_of,
) -> tuple[Table, tuple[str, ...]]:
    """Return the table, no line of it wider than that, and the headings of the columns that were left out."""
    fits = fitted(columns, rows, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column, its_width in zip(fits.columns, fits.widths, strict=True):
        table.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=its_width,
        )
    for row, *cells in zip(rows, *fits.cells, strict=True):
        texts = map(_cut, fits.columns, cells, fits.widths)
        table.add_row(*map(Text, texts), style=style(row))
    return table, fits.left_out


def _cut(column: Column, text: str, width: int) -> str:
    """Return the text without its beginning, if that does not fit; ends are cut as they are drawn."""
    return f"…{text[1 - width :]}" if column.keeps_end and 1 < width < len(text) else text
