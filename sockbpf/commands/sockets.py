# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf sockets`: the queues of this moment, worst first; with `--summary` the figures of all of them."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from sockbpf.counters import Counters
from sockbpf.errors import ConfigError, SockbpfError
from sockbpf.kernel.look.choice import look_of
from sockbpf.kernel.look.diag import Diag
from sockbpf.kernel.look.glance import glance
from sockbpf.monitor.sockets_now import SocketsNow
from sockbpf.monitor.totals_now import totals_now
from sockbpf.record.event import Protocol
from sockbpf.record.text import printable
from sockbpf.settings.filters import FILTERS, asked_of
from sockbpf.view.lines import csv_lines, json_lines
from sockbpf.view.sockets_table import sockets_table
from sockbpf.view.summary import summary_object, summary_page

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from sockbpf.kernel.look.row import Look
    from sockbpf.record.socket_row import Asked, SocketRow
    from sockbpf.settings.config import Config

NOT_OF_SUMMARY = ("listen", "all", "csv", "limit")

TABLE_ROWS = 50
"""So many rows a table has without `--limit`; of JSON and CSV there are all."""

MOST_SAID = 6
"""So many things that cannot be listed are named."""

WITHOUT_ROOT = (
    "without root: only sockets of this network namespace, and processes of this user; "
    "for all: sudo sockbpf sockets"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for; `limit` None: as many as the form has without it, 0: all."""

    asked: Asked
    protocols: tuple[Protocol, ...] = tuple(Protocol)
    empties: bool = False
    listeners: bool = False
    form: str = "table"
    limit: int | None = None
    summary: bool = False


def wish_of(arguments: Namespace) -> Wish:
    """Return what the command line asks for; raise ConfigError."""
    protocols = tuple(each for each in Protocol if getattr(arguments, each.name.lower()))
    if arguments.listen and protocols == (Protocol.UDP,):
        raise ConfigError(["--listen: only a TCP socket can be a listener"])
    given = {name: getattr(arguments, name) or [] for name in FILTERS}
    if arguments.summary and (
        any(given.values()) or any(getattr(arguments, name) for name in NOT_OF_SUMMARY)
    ):
        raise ConfigError(["--summary: expected nothing beside it but -c, --json, --tcp and --udp"])
    return Wish(
        asked_of(given, protocols),
        protocols or tuple(Protocol),
        arguments.all,
        arguments.listen,
        "json" if arguments.json else "csv" if arguments.csv else "table",
        arguments.limit,
        arguments.summary,
    )


def sockets(config: Config, wish: Wish) -> int:
    """Print the sockets that are asked for, and return 0: that there are none is no fault."""
    if wish.summary:
        return _summary(config, wish)
    with closing(look_for(config)) as look:
        seen = glance(look, wish.protocols, empties=wish.empties, listeners_only=wish.listeners)
    say_what_is_missing(seen.missed)
    limit = (TABLE_ROWS if wish.form == "table" else 0) if wish.limit is None else wish.limit
    now = SocketsNow(config)
    shown = now.first(seen, wish.asked, empties=wish.empties or wish.listeners, limit=limit)
    from sockbpf.monitor.rows_closely import MOST, RowsClosely  # `top` imports this module, and does without

    closely = RowsClosely(config.status.socket)
    rows = closely.of(shown.rows)
    if wish.form == "table":
        _print_table(list(rows), wish, are_more=shown.are_more)
    else:
        write((json_lines if wish.form == "json" else csv_lines)(rows))
    if closely.left_out:
        print(
            f"age and cause of the first {MOST} alone: {closely.left_out} more hold something",
            file=sys.stderr,
        )
    return 0


def _summary(config: Config, wish: Wish) -> int:
    with closing(look_for(config)) as look:
        totals, seen = totals_now(config, look, wish.protocols)
    say_what_is_missing(seen.missed)
    if wish.form == "json":
        write([summary_object(totals)])
    else:
        out = Console(highlight=False)
        _print(out, summary_page(totals, out.width, frozenset(config.rates)))
    return 0


def look_for(config: Config) -> Look:
    """Return the best way to look at sockets that this user has. To be closed."""
    if os.geteuid() != 0:
        return Diag()
    return look_of(config.kernel.look, config.kernel.types, Counters())[0]


def say_what_is_missing(missed: Sequence[str]) -> None:
    """Say on stderr what the user does not get."""
    if os.geteuid() != 0:
        print(WITHOUT_ROOT, file=sys.stderr)
    for sentence in missed[:MOST_SAID]:
        print(printable(sentence), file=sys.stderr)
    if len(missed) > MOST_SAID:
        print(f"and {len(missed) - MOST_SAID} more that cannot be listed", file=sys.stderr)


def write(lines: Iterable[str]) -> None:
    """Write lines to stdout; end quietly where nobody reads them any more, as with `| head`. Raise SockbpfError."""
    try:
        with open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as out:
            out.writelines(lines)
    except BrokenPipeError:
        return
    except OSError as fault:
        raise SockbpfError(f"the output cannot be written: {fault.strerror}") from None


def _print(out: Console, parts: Iterable[RenderableType]) -> None:
    with out.capture() as captured:
        for part in parts:
            out.print(part)
    write(line.rstrip() + "\n" for line in captured.get().splitlines())


def _print_table(rows: Sequence[SocketRow], wish: Wish, *, are_more: bool) -> None:
    if not rows:
        hint = "" if wish.empties or wish.listeners else " that holds anything; --all shows empty ones too"
        print(f"no such socket{hint}", file=sys.stderr)
        return
    out = Console(highlight=False)
    table, left_out = sockets_table(rows, out.width)
    _print(out, [table])
    notes = []
    if are_more:
        notes.append(f"the first {len(rows)}; --limit 0 shows all")
    if left_out:
        notes.append(f"no room for {', '.join(left_out)}: a wider screen, --json or --csv shows them")
    for note in notes:
        print(note, file=sys.stderr)
