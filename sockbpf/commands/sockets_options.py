# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The options of `sockbpf sockets`, and what its help says of filters. Light: every command line loads this."""

from __future__ import annotations

import argparse
from pathlib import Path

MOST_ROWS = 10_000_000

FILTERS = (
    *("port", "local-port", "remote-port", "ip", "local-ip", "remote-ip"),
    *("process", "user", "unit", "container", "cgroup", "netns", "type", "state"),
)

HELP = """\
filters, each once or more, of one a value must fit, and all must hold:
  --port, --local-port, --remote-port 443 | 8000-8100    --port: either end
  --ip, --local-ip, --remote-ip 192.0.2.1 | 10.0.0.0/8   --state CLOSE-WAIT
  --process, --unit, --container, --cgroup 'PATTERN'     --user, --netns NAME
  --type SEND | RECV | ACCEPT: this queue holds something"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="take thresholds and rules from this file"
    )
    parser.add_argument("--tcp", action="store_true", help="TCP alone")
    parser.add_argument("--udp", action="store_true", help="UDP alone")
    parser.add_argument("--listen", action="store_true", help="TCP listeners alone, with their accept queues")
    parser.add_argument("--all", action="store_true", help="empty ones too, and TIME-WAIT")
    parser.add_argument(
        "--summary", action="store_true", help="totals, memory, listeners, counters and their rates"
    )
    parser.add_argument("--limit", type=_rows, metavar="N", help="so many; 0: all; without it a table has 50")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object a line, names as in alerts")
    form.add_argument("--csv", action="store_true", help="the same with a line of names")
    for name in FILTERS:
        parser.add_argument(f"--{name}", action="append", help=argparse.SUPPRESS)


def _rows(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= MOST_ROWS:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {MOST_ROWS}, got {text!r}")
    return number
