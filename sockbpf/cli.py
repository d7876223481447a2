# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The commands: the options of each, the function that runs it, and its exit code."""

from __future__ import annotations

import argparse
import errno
import io
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from sockbpf.commands import advise_options, sockets_options
from sockbpf.errors import SockbpfError
from sockbpf.process import logs, signals
from sockbpf.process.limits import share_memory
from sockbpf.usage import Command, parse, parser

if TYPE_CHECKING:
    from sockbpf.settings.config import Config

SERVICES = ("run", "store")
"""Commands whose output is a log, and which write much else."""
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
LOG_S = 1.0
"""How long the end of the process waits until the log is written."""


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
    share_memory()
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


def _advise(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    from sockbpf.commands.advise import advise, wanted_of

    return advise(config, wanted_of(arguments))


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


def _silence_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--match", metavar="CONDITIONS", help="of which queues, by the keys of a rule's match"
    )
    parser.add_argument("--for", metavar="TIME", help="for how long: 30m, 2h, at most 30d")
    parser.add_argument("--reason", metavar="TEXT", help="why, for those who see the silence")
    parser.add_argument("--list", action="store_true", help="the silences that last")
    parser.add_argument("--end", metavar="ID", help="end one: what is over then is told")
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", default=Path("/run/sockbpf/monitor.sock"),
        help="`status: socket` of the monitor's settings; %(default)s",
    )  # fmt: skip


def _silence(arguments: argparse.Namespace) -> int:
    from sockbpf.commands.silence import Wanted, silence

    its = arguments
    return silence(its.socket, Wanted(its.match, vars(its)["for"], its.reason, its.end, its.list))


def _top_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="take thresholds and rules from this file"
    )
    parser.add_argument("--once", action="store_true", help="print one frame")
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", default=Path("/run/sockbpf/monitor.sock"),
        help="where the running monitor is asked what is over; %(default)s",
    )  # fmt: skip
    parser.add_argument("--filter", action="append", metavar="TEXT", help="such as port:443 unit:nginx tcp")


def _top(arguments: argparse.Namespace) -> int:
    from sockbpf.commands.top import top
    from sockbpf.settings.config import by_default, load

    config = load(arguments.config) if arguments.config else by_default()
    return top(config, arguments.socket, arguments.filter or [], once=arguments.once)


def _store(arguments: argparse.Namespace) -> int:
    from sockbpf.process.user import want_no_rights

    want_no_rights()  # each thread for itself: before there is another
    if arguments.child:
        return _store_of_the_monitor()
    config = _load(arguments)
    from sockbpf.store.serve import serve

    return serve(config.store, config.history.keep)


def _store_of_the_monitor() -> int:
    from sockbpf.store.child import end_with_the_monitor, take_order
    from sockbpf.store.serve import serve

    order = take_order()
    logs.start(order.log)
    return serve(order.settings, order.history_s, socket.socket(fileno=order.listener), end_with_the_monitor)


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
        "sudo sockbpf -c /etc/sockbpf/config.yaml",
        _run_options,
        _run,
    ),
    "check": Command(
        "try everything on this kernel, and say what is missing",
        "sockbpf check -c FILE",
        "sudo sockbpf check -c config.yaml",
        _config_option,
        _check,
    ),
    "status": Command(
        "ask the running monitor what is over now, and how it is",
        "sockbpf status [--json] [--socket PATH]",
        "sudo sockbpf status --json | jq .open",
        _status_options,
        _status,
    ),
    "silence": Command(
        "say nothing of some queues for a time; docs/silence.md",
        "sockbpf silence --match CONDITIONS --for TIME | --list | --end ID",
        "sudo sockbpf silence --match 'process=rsync*,local_port=873' --for 2h",
        _silence_options,
        _silence,
    ),
    "explain": Command(
        "say which rule applies to these sockets, and why",
        "sockbpf explain -c FILE ADDRESS:PORT|PID",
        "sudo sockbpf explain -c config.yaml 192.0.2.7:443",
        _explain_options,
        _explain,
    ),
    "advise": Command(
        "say what other thresholds would have told; docs/advise.md",
        "sockbpf advise -c FILE [--since TIME] [--service NAME] [--json | --write]",
        "sockbpf advise -c config.yaml --service nginx.service",
        advise_options.add_options,
        _advise,
    ),
    "sockets": Command(
        "list the sockets whose queues are not empty, worst first",
        "sockbpf sockets [OPTION …] [FILTER …]",
        "sockbpf sockets --tcp --port 443 --process 'nginx*'",
        sockets_options.add_options,
        _sockets,
        sockets_options.HELP,
        needs_config=False,
    ),
    "top": Command(
        "show the queues live, what is over first",
        "sockbpf top [-c FILE] [--once] [--filter TEXT] [--socket PATH]",
        "sudo sockbpf top --filter 'port:443 unit:nginx state:CLOSE-WAIT'",
        _top_options,
        _top,
        needs_config=False,
        conditions=sockets_options.FILTERS,
    ),
    "demo": Command("see an alert arrive", "sockbpf demo", "sudo sockbpf demo", _no_options, _demo),
    "store": Command(
        "keep alerts, and show them, until killed",
        "sockbpf store -c FILE",
        "sockbpf store -c config.yaml",
        _store_options,
        _store,
    ),
}


def door() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return parser(COMMANDS)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; every error ends here, as a line and an exit code."""
    logs.open_what_is_closed()
    signals.hold()
    arguments = parse(COMMANDS, sys.argv[1:] if argv is None else argv)
    try:
        if arguments.command != "run":
            signals.let_go()
        code = COMMANDS[arguments.command].run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SockbpfError as error:
        logs.last_word(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001, the last resort: whatever it is, an exit code
        if arguments.command not in SERVICES and _is_of_the_output(error):
            logs.last_word(f"the output cannot be written: {error.strerror}")
            return 1
        logs.last_word(f"{traceback.format_exc()}sockbpf: unexpected, see above; please report it")
        return 1
    else:
        return code
    finally:
        logs.drain(LOG_S)


def _is_of_the_output(error: Exception) -> TypeGuard[OSError]:
    """Whether the standard output takes nothing more; then it gets nothing more, at the end of the process either."""
    if not isinstance(error, OSError) or error.errno not in UNWRITABLE or error.filename is not None:
        return False
    sys.stdout = io.StringIO()
    return True
