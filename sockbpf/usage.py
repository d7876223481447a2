# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What may be typed: help that fits a screen of 80 x 24 with a prompt, and for a mistake what was meant."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sockbpf import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EXITS = "exit codes: 0 ok, 1 unexpected, 2 configuration, 3 cannot run, 130 interrupted"
OF_ALL = {"-h", "--help", "--version"}
"""Options without a command; any other option without a command belongs to `run`."""
WHICH_CONFIG = "which configuration? -c FILE; a commented example is config.yaml beside the code"
SAME = {
    **dict.fromkeys(("help", "usage"), "--help"),
    "version": "--version",
    **dict.fromkeys(("monitor", "start", "watch", "daemon"), "run"),
    **dict.fromkeys(("list", "ls", "ss", "ps", "netstat", "summary"), "sockets"),
    **dict.fromkeys(("live", "show"), "top"),
    **dict.fromkeys(("test", "validate"), "check"),
    "why": "explain",
    "mute": "silence",
}
"""Words that other programs have for what is a command here, or an option without one."""
SAME_OPTIONS = {
    "--format": "--json",
    "--output": "--json",
    "--protocol": "--tcp",
    "--file": "--config",
    "-f": "--config",
}
"""The same of options."""
FILES = (".yaml", ".yml")
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
    conditions: tuple[str, ...] = ()
    """What its `--filter` takes and others take as options."""


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
        door.error(f"there is no command {argv[0]!r}{_instead(argv[0], commands)}; sockbpf --help")
    arguments, unknown = door.parse_known_args(["run", *argv] if is_run else argv)
    one: argparse.ArgumentParser = arguments.parser
    if arguments.command == "explain" and (arguments.what or "").endswith(FILES):
        one.error(f"{arguments.what} is no socket, did you mean -c {arguments.what}?")
    if unknown:
        one.error(f"unrecognized arguments: {' '.join(unknown)}{_hint(unknown[0], one, commands)}")
    if arguments.command == "explain" and arguments.what is None:
        one.error("which sockets? ADDRESS:PORT of either end, or the PID of a process")
    wants_config = "config" in arguments and not getattr(arguments, "child", False)
    if wants_config and arguments.config is None and commands[arguments.command].needs_config:
        one.error(WHICH_CONFIG)
    return arguments


def meant(word: str, known: Iterable[str], alike: float = 0.6) -> str:
    """Return a question for the one of `known` that is nearest to this word, or nothing; case does not matter.

    `alike` is from 0 to 1, as of difflib.
    """
    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_lower, 1, alike)
    return f", did you mean {by_lower[near[0]]}?" if near else ""


def meant_of(expected: str, value: object) -> str:
    """Return the same of a fault that begins with `expected one of` and names them with commas."""
    words = expected.removeprefix("expected one of ")
    return meant(value, words.split(", ")) if words != expected and isinstance(value, str) else ""


def options_of(one: argparse.ArgumentParser) -> list[str]:
    """Return the long options of a parser."""
    return [option for option in one._option_string_actions if option.startswith("--")]  # noqa: SLF001


def _by_line(prog: str) -> argparse.HelpFormatter:
    """Return a formatter that leaves lines as they are written, with an option and its help on one."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=27)


def _instead(word: str, commands: Mapping[str, Command]) -> str:
    """Return what was meant by a first word that is no command, as far as that can be told."""
    if word.endswith(FILES):
        return f", did you mean -c {word}?"
    same = SAME.get(word.lower())
    return f", did you mean {same}?" if same else meant(word, commands)


def _hint(word: str, one: argparse.ArgumentParser, commands: Mapping[str, Command]) -> str:
    """Return what was meant by a word that this command does not take, as far as that can be told."""
    if word in commands:
        return f": a command is the first word, as in sockbpf {word}"
    options = options_of(one)
    option = re.split("[:=]", word)[0]
    if not option.startswith("-"):  # such as `tcp` or `port:443`
        return _of_value(word, f"--{option}", options)
    if (same := SAME_OPTIONS.get(option)) in options:
        return f", did you mean {same}?"
    if option[1:2] != "-":
        return _of_letters(option[1:].lower(), one)
    if option[2:] in commands[_name_of(one)].conditions:
        return f", did you mean --filter {option[2:]}:…?"
    elsewhere = [name for name, command in commands.items() if option in _options(command)]
    return f", an option of sockbpf {elsewhere[0]}" if elsewhere else meant(option, [*options, *OF_ALL])


def _of_letters(letters: str, one: argparse.ArgumentParser) -> str:
    """Return the options that begin with these letters; of several letters, as in `-tuan`, those without a value."""
    actions = one._option_string_actions  # noqa: SLF001
    can = [option for option in options_of(one) if len(letters) == 1 or actions[option].nargs == 0]
    found = [next((option for option in can if option[2] == letter), "") for letter in letters]
    return f", did you mean {' '.join(filter(None, found))}?" if any(found) else ""


def _name_of(one: argparse.ArgumentParser) -> str:
    return one.prog.split()[-1]


def _of_value(word: str, option: str, options: list[str]) -> str:
    """Return the option that was left out before a word: by its own name, or by what it looks like."""
    if option in options:
        return f", did you mean {option}?"
    looks = (
        ("--config", word.endswith(FILES)),
        ("--port", word.isdigit()),
        ("--ip", bool(re.fullmatch(r"[0-9.]+(/[0-9]+)?|[0-9a-fA-F]*:[0-9a-fA-F:.]*(/[0-9]+)?", word))),
        ("--filter", True),
        ("--process", True),
    )
    found = [f"{each} {word}" for each, does in looks if does and each in options]
    near = meant(option, options, 0.8)
    return near or (f", did you mean {found[0]}?" if found else "")


def _options(command: Command) -> list[str]:
    apart = argparse.ArgumentParser(add_help=False)
    command.add_options(apart)
    return options_of(apart)
