# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What may be typed: help that fits a screen of 80 x 24, and for a mistake what was meant."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sockbpf import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EXITS = """\
exit codes: 0 ok, 1 unexpected, 2 configuration, 3 this kernel or this user
cannot run it, or another monitor does, 130 interrupted"""
OF_ALL = {"-h", "--help", "--version"}
"""Options without a command; any other option without a command belongs to `run`."""
WHICH_CONFIG = "which configuration? -c FILE; a commented example is config.yaml beside the code"
NEXT = """\
what to do next:
  sudo sockbpf demo                  see an alert arrive; changes nothing
  sudo sockbpf check -c config.yaml  what this kernel can do, and what is missing
  sudo sockbpf -c config.yaml        watch this host until killed
  sockbpf sockets                    the queues of this moment
  sockbpf --help                     all commands
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what its help says of it, the options it takes, and what runs it."""

    summary: str
    usage: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Returns the exit code. It imports the modules that it needs, so that the other commands do not load them."""
    more: str = ""
    """What its help says between the options and the example."""
    needs_config: bool = True
    """Whether it cannot do without a configuration, if it has an option for one."""


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser of the command line, whose first word is a command."""
    door = argparse.ArgumentParser(
        prog="sockbpf",
        usage="sockbpf [COMMAND] [OPTION …]",
        description="Alerts by HTTP GET the moment a TCP or UDP socket queue exceeds its threshold.",
        epilog=f"example: sudo sockbpf -c config.yaml; `sockbpf COMMAND --help` has more\n{EXITS}",
        formatter_class=_by_line,
    )
    door.add_argument("--version", action="version", version=f"sockbpf {__version__}")
    words = door.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", prog="sockbpf", required=True
    )
    for name, command in commands.items():
        one = words.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            usage=command.usage,
            epilog="\n".join(filter(None, (command.more, f"example: {command.example}", EXITS))),
            formatter_class=_by_line,
        )
        command.add_options(one)
        one.set_defaults(parser=one)
    return door


def parse(commands: Mapping[str, Command], argv: list[str]) -> argparse.Namespace:
    """Return what the command line asks for; one that makes no sense ends the process with exit code 2."""
    door = parser(commands)
    if not argv:
        door.exit(2, f"{door.format_usage()}sockbpf: error: {WHICH_CONFIG}\n{NEXT}")
    is_run = argv[0].startswith("-") and argv[0] not in OF_ALL
    if not is_run and argv[0] not in commands and argv[0] not in OF_ALL:
        door.error(f"there is no command {argv[0]!r}{meant(argv[0], commands)}; sockbpf --help")
    arguments, unknown = door.parse_known_args(["run", *argv] if is_run else argv)
    one: argparse.ArgumentParser = arguments.parser
    if unknown:
        one.error(f"unrecognized arguments: {' '.join(unknown)}{_hint(unknown[0], one, commands)}")
    if arguments.command == "explain" and arguments.what is None:
        one.error("which sockets? ADDRESS:PORT of either end, or the PID of a process")
    wants_config = "config" in arguments and not getattr(arguments, "child", False)
    if wants_config and arguments.config is None and commands[arguments.command].needs_config:
        one.error(WHICH_CONFIG)
    return arguments


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question for the one of `known` that is nearest to this word, or nothing."""
    near = get_close_matches(word, known, 1)
    return f", did you mean {near[0]}?" if near else ""


def options_of(one: argparse.ArgumentParser) -> list[str]:
    """Return the long options of a parser."""
    return [option for option in one._option_string_actions if option.startswith("--")]  # noqa: SLF001


def _by_line(prog: str) -> argparse.HelpFormatter:
    """Return a formatter that leaves lines as they are written, with an option and its help on one."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=27)


def _hint(word: str, one: argparse.ArgumentParser, commands: Mapping[str, Command]) -> str:
    """Return what was meant by a word that this command does not take, as far as that can be told."""
    if word in commands:
        return f": a command is the first word, as in sockbpf {word}"
    option = re.split("[:=]", word)[0]
    if not option.startswith("-"):  # such as `tcp` or `port:443`
        option = f"--{option}"
        return f", did you mean {option}?" if option in options_of(one) else ""
    elsewhere = [name for name, command in commands.items() if option in _options(command)]
    return f", an option of sockbpf {elsewhere[0]}" if elsewhere else meant(option, options_of(one))


def _options(command: Command) -> list[str]:
    apart = argparse.ArgumentParser(add_help=False)
    command.add_options(apart)
    return options_of(apart)
