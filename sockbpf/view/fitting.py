# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which columns of a table fit the width of a screen. Pure: rows of texts in, rows of texts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sockbpf.record.socket_row import SocketRow
    from sockbpf.view.columns import Column

GAP = 1
"""Characters between two columns."""
LEAST = 8
"""A text that may be cut keeps so many characters."""
ALWAYS = 4
"""Columns with a lower `keep` stay, cut if need be."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The columns that fit, each with its texts and with the width it has."""

    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]
    """By column."""
    widths: tuple[int, ...]
    left_out: tuple[str, ...]
    """The headings of those that did not fit."""


def fitted(columns: Iterable[Column], rows: Sequence[SocketRow], width: int) -> Fitted:
    """Return the columns that fit `width` characters. One that no row has a text in is left out, unsaid."""
    texts = {column: tuple(map(column.of, rows)) for column in columns}
    kept = {column: cells for column, cells in texts.items() if any(cells)}
    needs = {column: max(len(column.heading), *map(len, cells)) for column, cells in kept.items()}
    left_out: list[str] = []
    while _sum(needs.values()) > width:
        last = max(needs, key=lambda column: column.keep)
        if last.keep < ALWAYS:
            break
        left_out.append(last.heading)
        del needs[last]
    _cut(needs, width)
    chosen = tuple(needs)
    return Fitted(
        chosen, tuple(kept[column] for column in chosen), tuple(needs.values()), tuple(reversed(left_out))
    )


def _cut(needs: dict[Column, int], width: int) -> None:
    """Narrow the widest of the columns that may be cut, until all fit or none can be narrowed any more."""
    while (excess := _sum(needs.values()) - width) > 0:
        can = [column for column in needs if column.may_be_cut and needs[column] > LEAST]
        if not can:
            return
        widest = max(can, key=lambda column: needs[column])
        second = max((needs[column] for column in can if column is not widest), default=LEAST)
        needs[widest] -= min(excess, max(needs[widest] - max(second, LEAST), 1))


def _sum(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + GAP * (len(found) - 1)
