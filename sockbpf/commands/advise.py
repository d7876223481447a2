# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf advise`: what was seen and told of each service, what other thresholds would have told, what to set."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from sockbpf.errors import ConfigError
from sockbpf.judge.advice_known import LONGEST_S
from sockbpf.judge.advice_service import shown_advice
from sockbpf.monitor.advised import advice_of, advised_rules
from sockbpf.monitor.advising import history_of
from sockbpf.record.text import printable
from sockbpf.settings.fields import DURATIONS, quantity
from sockbpf.view.advice import seen_row, seen_table, tried_table

if TYPE_CHECKING:
    from argparse import Namespace

    from sockbpf.judge.advice_known import Known
    from sockbpf.judge.advice_service import Advice
    from sockbpf.settings.config import Config


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is typed."""

    since: str
    service: str
    host: str
    as_json: bool
    write: bool


def wanted_of(arguments: Namespace) -> Wanted:
    """Return what the command line asks for."""
    its = arguments
    return Wanted(its.since, its.service, its.host, its.json, its.write)


def advise(config: Config, wanted: Wanted) -> int:
    """Print the advice; return 0, or 1 if the store has no history of such services. Raise SockbpfError."""
    if wanted.as_json and wanted.write:
        raise ConfigError(["expected one of --json and --write"])
    now_s = time.time()
    since_s = _since_s(wanted.since)
    known = history_of(config, wanted.host or socket.gethostname(), wanted.service, now_s - since_s, now_s)
    given = list(advice_of(config, known, lambda at_s: time.localtime(at_s).tm_hour))
    if wanted.write:
        print(advised_rules(config, given), end="")
    elif wanted.as_json:
        print(json.dumps(_as_json(known, given)))
    else:
        _print(known, given, in_full=bool(wanted.service))
    return 0 if given else 1


def _since_s(text: str) -> float:
    seconds = quantity(text, DURATIONS)
    if seconds is None or not 3600 <= seconds <= LONGEST_S:  # noqa: PLR2004  an hour
        raise ConfigError(
            [f"--since: expected a duration from 1h to 14d, such as 7d, got {printable(repr(text))}"]
        )
    return float(seconds)


def _print(known: Known, given: list[Advice], *, in_full: bool) -> None:
    out = Console(highlight=False, soft_wrap=True)
    if not given:
        out.print("the store has no history of such services of this host; docs/advise.md")
        return
    table = seen_table()
    for each in given:
        table.add_row(*seen_row(each.series, each.size, each.fill, each.busy_s, each.times))
    out.print(table)
    if known.left_out:
        out.print(f"and {known.left_out} services more, less full; --service NAME has one")
    for each in given:
        if each.proposal.rung or in_full:
            name = f"{each.series.service} {each.series.protocol} {each.series.type}"
            out.print(f"\n[bold]{escape(printable(name))}[/]: {escape(printable(each.proposal.reason))}")
        if in_full and each.rungs:
            out.print(tried_table(each.rungs))
    if any(each.proposal.rung for each in given):
        out.print("\n--write prints the rules; --service NAME shows all that was tried")
    else:
        out.print("\nnothing is proposed; --service NAME shows all that was tried")


def _as_json(known: Known, given: list[Advice]) -> dict[str, Any]:
    return {
        "from": known.begin_s,
        "to": known.end_s,
        "left_out": known.left_out,
        "services": [each.series._asdict() | shown_advice(each) for each in given],
    }
