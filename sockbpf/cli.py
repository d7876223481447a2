# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The command line: the options of each command, the function that runs it, and its exit code."""

from __future__ import annotations

import argparse
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf import __version__
from sockbpf.commands import sockets_options
from sockbpf.errors import SockbpfError
from sockbpf.process import logs, signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.settings.config import Config

EXITS = (
    "exit codes: 0 ok, 1 unexpected, 2 configuration, 3 this kernel or this user cannot run it, or "
    "another monitor does, 130 interrupted"
)
EXITS_LINES = EXITS.replace(", or another", ", or\nanother")
LOG_S = 1.0
"""How long the end of the process waits until the log is written."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what its help says of it, the options it takes, and what runs it."""

    summary: str
    usage: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Returns the exit code. It imports the modules that it needs, so that the other commands do not load them."""
    more: str = ""
    """What its help says behind the options, line by line."""
    needs_config: bool = True
    """Whether it cannot do without a configuration, if it has an option for one."""


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the configuration; config.yaml explains every key"
    )


def _run_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="appears once every hook is armed")
    parser.add_argument("--beside", action="store_true", help="run though another monitor watches this host")


def _store_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def _no_options(_: argparse.ArgumentParser) -> None:
    """Take none."""


def _run(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    from sockbpf.commands.run import watch

    return watch(config, arguments.config, arguments.ready_file, beside=arguments.beside)


def _check(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    from sockbpf.commands.check import check

    return check(config)


def _demo(_: argparse.Namespace) -> int:
    from sockbpf.commands.demo import demo

    return demo()


def _explain_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument(
        "what", nargs="?", metavar="ADDRESS:PORT|PID", help="either end of a socket, or a process"
    )


def _explain(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    from sockbpf.commands.explain import explain

    return explain(config, arguments.what)


def _sockets(arguments: argparse.Namespace) -> int:
    from sockbpf.commands.sockets import sockets, wish_of
    from sockbpf.settings.config import by_default, load

    wish = wish_of(arguments)
    return sockets(load(arguments.config) if arguments.config else by_default(), wish)


def _status_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="one object in one line; docs/status.md says what is in it"
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", default=Path("/run/sockbpf/monitor.sock"),
        help="`status: socket` of the monitor's settings; %(default)s",
    )  # fmt: skip


def _status(arguments: argparse.Namespace) -> int:
    from sockbpf.commands.status import status

    return status(arguments.socket, as_json=arguments.json)


def _store(arguments: argparse.Namespace) -> int:
    from sockbpf.process.user import want_no_rights

    want_no_rights()  # each thread for itself: before there is another
    if arguments.child:
        return _store_of_the_monitor()
    config = _load(arguments)
    from sockbpf.store.serve import serve

    return serve(config.store)


def _store_of_the_monitor() -> int:
    from sockbpf.store.child import end_with_the_monitor, take_order
    from sockbpf.store.serve import serve

    order = take_order()
    logs.start(order.log)
    return serve(order.settings, socket.socket(fileno=order.listener), end_with_the_monitor)


def _load(arguments: argparse.Namespace) -> Config:
    """Read the configuration and start the log as it says."""
    from sockbpf.settings.config import load

    config = load(arguments.config)
    logs.start(config.log)
    return config


COMMANDS = {
    "run": Command(
        "watch this host until killed; what runs without a command",
        "sockbpf [run] -c FILE [--ready-file FILE] [--beside]",
        _run_options,
        _run,
    ),
    "check": Command(
        "try everything on this kernel, and say what is missing",
        "sockbpf check -c FILE",
        _config_option,
        _check,
    ),
    "status": Command(
        "ask the running monitor what is over now, and how it is",
        "sockbpf status [--json] [--socket PATH]",
        _status_options,
        _status,
        "example: sudo sockbpf status --json | jq .open",
    ),
    "explain": Command(
        "say which rule applies to these sockets, and why",
        "sockbpf explain -c FILE ADDRESS:PORT|PID",
        _explain_options,
        _explain,
    ),
    "sockets": Command(
        "list the sockets whose queues are not empty, worst first",
        "sockbpf sockets [OPTION …] [FILTER …]",
        sockets_options.add_options,
        _sockets,
        sockets_options.HELP,
        needs_config=False,
    ),
    "demo": Command("see an alert arrive", "sockbpf demo", _no_options, _demo),
    "store": Command(
        "keep alerts, and show them, until killed", "sockbpf store -c FILE", _store_options, _store
    ),
}
OF_ALL = {"-h", "--help", "--version"}
"""Options without a command; any other option without a command belongs to `run`."""


def _by_line(prog: str) -> argparse.HelpFormatter:
    """Return a formatter that leaves lines as they are written, with an option and its help on one."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=27)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, whose first word is a command."""
    door = argparse.ArgumentParser(
        prog="sockbpf",
        usage="sockbpf [COMMAND] [OPTION …]",
        description="Alerts by HTTP GET the moment a TCP or UDP socket queue exceeds its threshold.",
        epilog=f"`sockbpf COMMAND --help` shows the options of one command. {EXITS}",
    )
    door.add_argument("--version", action="version", version=f"sockbpf {__version__}")
    commands = door.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", prog="sockbpf", required=True
    )
    for name, command in COMMANDS.items():
        one = commands.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            usage=command.usage,
            epilog=f"{command.more}\n{EXITS_LINES}" if command.more else EXITS,
            formatter_class=_by_line if command.more else argparse.HelpFormatter,
        )
        command.add_options(one)
        one.set_defaults(error=one.error)
    return door


def parse(argv: list[str]) -> argparse.Namespace:
    """Return what the command line asks for; one that makes no sense ends the process with exit code 2."""
    is_run = not argv or (argv[0].startswith("-") and argv[0] not in OF_ALL)
    arguments, unknown = parser().parse_known_args(["run", *argv] if is_run else argv)
    if unknown:
        hint = ": a command is the first word" if unknown[0] in COMMANDS else ""
        arguments.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    wants_config = "config" in arguments and not getattr(arguments, "child", False)
    if arguments.command == "explain" and arguments.what is None:
        arguments.error("which sockets? ADDRESS:PORT of either end, or the PID of a process")
    if wants_config and arguments.config is None and COMMANDS[arguments.command].needs_config:
        arguments.error("which configuration? -c FILE; a commented example is config.yaml beside the code")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command line; every error ends here, as a line and an exit code."""
    logs.open_what_is_closed()
    signals.hold()
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        if arguments.command != "run":
            signals.let_go()
        return COMMANDS[arguments.command].run(arguments)
    except SockbpfError as error:
        logs.last_word(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001, the last resort: whatever it is, an exit code
        logs.last_word(f"{traceback.format_exc()}sockbpf: unexpected, see above; please report it")
        return 1
    finally:
        logs.drain(LOG_S)
