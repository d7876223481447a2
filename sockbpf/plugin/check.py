# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`check_sockbpf`, a plug-in for Nagios and what understands its plug-ins: its arguments, its exit code.

Whatever goes wrong, there is one line on the standard output and one of the four exit codes.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sockbpf import __version__
from sockbpf.errors import ConfigError, UnsupportedError
from sockbpf.monitor.asking import NotAllowedError, ask
from sockbpf.plugin import of_counters, of_monitor
from sockbpf.plugin.verdict import Ranges, State, Verdict, range_of
from sockbpf.record.event import Protocol
from sockbpf.usage import meant, options_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sockbpf.plugin.verdict import Range

HELP = """\
--tcp, --udp, --port, --unit: queues, as of `sockbpf sockets`, without a monitor
METRIC: over, stalled, oldest (seconds), owed or lost; with --rates the counter;
of queues the fullest: recv, send (bytes), accept. RANGE, [@]start:end: 10 is
above 10 or below 0, 10: below 10, '~:10' above 10, @10:20 inside. Without any:
-w over=0,stalled=0,lost=0. Dead or blind monitor: CRITICAL. See docs/nagios.md
examples: check_sockbpf -w over=5 -c stalled=0,oldest=600
          check_sockbpf --tcp --port 5432 -w recv=64000 -c accept=50
          check_sockbpf --rates UdpRcvbufErrors -w 1 -c 100"""
QUEUE_FILTERS = ("port", "unit")
STATES = {state.name.lower(): state for state in (State.OK, State.WARNING, State.CRITICAL)}
MARGIN_S = 1.0
"""A monitor that does not answer is said so long before the time is over."""


class _Parser(argparse.ArgumentParser):
    """A parser whose faults are UNKNOWN, as help and version are by the guidelines."""

    def error(self, message: str) -> NoReturn:
        _end(Verdict(State.UNKNOWN, f"{message}; check_sockbpf --help", ""))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:  # noqa: ARG002  argparse gives it
        print(message or "", end="")
        sys.exit(State.UNKNOWN)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Check, say the verdict and exit."""
    arguments = parse(argv)
    signal.signal(signal.SIGALRM, lambda *_: _end(_timed_out(arguments.timeout)))
    signal.alarm(arguments.timeout)
    try:
        _end(checked(arguments))
    except ConfigError as fault:
        _end(Verdict(State.UNKNOWN, "; ".join(fault.faults), ""))
    except UnsupportedError as fault:
        state = State.UNKNOWN if isinstance(fault, NotAllowedError) else State.CRITICAL
        _end(Verdict(state, str(fault), ""))
    except (ValueError, OSError) as fault:
        _end(Verdict(State.UNKNOWN, str(fault), ""))
    except (KeyError, TypeError) as fault:
        _end(Verdict(State.UNKNOWN, f"the monitor is of another version: its status lacks {fault}", ""))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments, whose faults end the process with UNKNOWN."""
    made = _Parser(
        prog="check_sockbpf",
        usage="check_sockbpf [OPTION …]",
        description="Checks socket queues: of the running monitor, counters, or queues.",
        epilog=HELP,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=33),
    )
    for name in ("warning", "critical"):
        made.add_argument(
            f"-{name[0]}", f"--{name}", action="append", default=[], metavar="RANGES",
            help="[METRIC=]RANGE[,…]"
        )  # fmt: skip
    made.add_argument("-t", "--timeout", type=_seconds, default=10, metavar="S", help="seconds; %(default)s")
    made.add_argument("-v", "--verbose", action="count", default=0, help="more lines; up to -vvv")
    made.add_argument("-V", "--version", action="version", version=f"check_sockbpf {__version__}\n")
    made.add_argument(
        "--socket", type=Path, default=Path("/run/sockbpf/monitor.sock"), metavar="PATH",
        help="of the monitor; %(default)s",
    )  # fmt: skip
    made.add_argument(
        "--unseen", choices=STATES, default="warning", metavar="STATE",
        help="while hooks are missing; %(default)s",
    )  # fmt: skip
    made.add_argument(
        "--rates", nargs="?", const="", metavar="NAME[,…]", help="rises a second; of full queues"
    )  # fmt: skip
    for name in ("tcp", "udp"):
        made.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    for name in QUEUE_FILTERS:
        made.add_argument(f"--{name}", action="append", default=[], help=argparse.SUPPRESS)
    return made


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; faults end the process with UNKNOWN."""
    takes = parser()
    arguments, unknown = takes.parse_known_args(argv)
    if unknown:
        takes.error(f"unrecognized arguments: {' '.join(unknown)}{meant(unknown[0], options_of(takes))}")
    return arguments


def checked(arguments: argparse.Namespace) -> Verdict:
    """Do what is asked for; raise ValueError for arguments that make no sense, UnsupportedError, OSError."""
    asks_queues = arguments.tcp or arguments.udp or any(getattr(arguments, name) for name in QUEUE_FILTERS)
    if arguments.rates is not None and asks_queues:
        raise ValueError("--rates is of counters: expected no --tcp, --udp, --port or --unit beside it")
    if arguments.rates is not None:
        names = of_counters.checked([name for name in arguments.rates.split(",") if name])
        names = names or of_counters.those_here(of_counters.DEFAULT)
        ranges = Ranges(*(_ranges(each, names, names) for each in (arguments.warning, arguments.critical)))
        return of_counters.judged(names, ranges, arguments.verbose)
    if asks_queues:
        return _of_queues(arguments)
    metrics = tuple(of_monitor.WORDS)
    warning, critical = (
        _ranges(each, metrics, metrics[:1]) for each in (arguments.warning, arguments.critical)
    )
    ranges = of_monitor.with_defaults(warning, critical)
    told = ask(arguments.socket, max(arguments.timeout - MARGIN_S, MARGIN_S / 2))
    if told["state"] == "hangs":
        return Verdict(State.CRITICAL, f"the monitor, process {told['pid']}, hangs: {told['blind'][0]}", "")
    return of_monitor.judged(told, ranges, arguments.verbose, STATES[arguments.unseen])


def _of_queues(arguments: argparse.Namespace) -> Verdict:
    from sockbpf.plugin import of_queues  # what it needs takes longer to load than all else

    protocols = tuple(each for each in Protocol if getattr(arguments, each.name.lower()))
    metrics = tuple(of_queues.METRICS)
    ranges = Ranges(
        *(_ranges(each, metrics, metrics[:2]) for each in (arguments.warning, arguments.critical))
    )
    filters = {name: getattr(arguments, name) for name in QUEUE_FILTERS}
    return of_queues.judged(filters, protocols, ranges, arguments.verbose)


def _ranges(texts: Iterable[str], known: Sequence[str], without_name: Sequence[str]) -> dict[str, Range]:
    """Read `[METRIC=]RANGE[,…]`; a range without a metric is for those of `without_name`."""
    found: dict[str, Range] = {}
    for text in ",".join(texts).split(",") if texts else ():
        name, equals, range_ = text.rpartition("=")
        if equals and name not in known:
            raise ValueError(
                f"{name!r} is not checked, expected one of {', '.join(known)}{meant(name, known)}"
            )
        found |= dict.fromkeys([name] if equals else without_name, range_of(range_))
    return found


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 3600:  # noqa: PLR2004  an hour
        raise argparse.ArgumentTypeError("expected a whole number of seconds from 1 to 3600")
    return int(text)


def _timed_out(seconds: int) -> Verdict:
    return Verdict(State.CRITICAL, f"not done within {seconds} s", "")


def _end(verdict: Verdict) -> NoReturn:
    print(verdict.text())
    sys.exit(verdict.state)
