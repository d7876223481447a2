"""The door: what is typed, which part runs it, and how it ends."""

from __future__ import annotations

import argparse
import socket
import traceback
from pathlib import Path

from sockbpf import __version__
from sockbpf.errors import SockbpfError
from sockbpf.process import logs, signals

USAGE = """\
sockbpf -c config.yaml            watch until killed
       sockbpf store -c config.yaml      keep alerts, and show them, until killed
       sockbpf check -c config.yaml      try everything on this kernel, and say what is missing
       sockbpf demo                      see an alert arrive"""

EXITS = (
    "exit codes: 0 ok, 1 unexpected, 2 configuration, 3 this kernel or this user cannot run it, or "
    "another monitor does, 130 interrupted"
)
LOG_S = 1.0
"""So long the end waits for the log to be written."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    door = argparse.ArgumentParser(
        prog="sockbpf",
        usage=USAGE,
        description="Alerts by HTTP GET the moment a TCP or UDP socket queue exceeds its threshold.",
        epilog=EXITS,
    )
    door.add_argument(
        "command", nargs="?", choices=["run", "store", "check", "demo"], default="run", help="default: run"
    )
    door.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration, see config.yaml")
    door.add_argument("--ready-file", type=Path, metavar="FILE", help="appears once every hook is armed")
    door.add_argument("--beside", action="store_true", help="run though another monitor watches this host")
    door.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    door.add_argument("--version", action="version", version=f"sockbpf {__version__}")
    return door


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    # The parts are imported when they are wanted: signals are held by now, and BCC and HTTP cost a check of the
    # configuration nothing.
    if arguments.command != "run":
        signals.let_go()
    if arguments.command == "demo":
        from sockbpf.commands.demo import demo

        return demo()
    if arguments.command == "store":
        from sockbpf.process.user import want_no_rights

        want_no_rights()  # each thread for itself: before there is another
        if arguments.child:
            return _store_of_the_monitor()
    if arguments.config is None:
        parser().error("which configuration? -c FILE; a commented example is config.yaml beside the code")
    from sockbpf.settings.config import load

    config = load(arguments.config)
    logs.start(config.log)
    if arguments.command == "check":
        from sockbpf.commands.check import check

        return check(config)
    if arguments.command == "store":
        from sockbpf.store.serve import serve

        return serve(config.store)
    from sockbpf.commands.run import watch

    return watch(config, arguments.config, arguments.ready_file, beside=arguments.beside)


def _store_of_the_monitor() -> int:
    from sockbpf.store.child import end_with_the_monitor, take_order
    from sockbpf.store.serve import serve

    order = take_order()
    logs.start(order.log)
    return serve(order.settings, socket.socket(fileno=order.listener), end_with_the_monitor)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; every error leaves by here, as a line and an exit code."""
    logs.open_what_is_closed()
    signals.hold()
    arguments = parser().parse_args(argv)
    try:
        return run(arguments)
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
