# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The manual pages sockbpf(8) and check_sockbpf(8), made of the parsers of the command lines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from package.roff import Page
from sockbpf import __version__
from sockbpf.cli import COMMANDS, door
from sockbpf.plugin import check
from sockbpf.plugin.verdict import State

if TYPE_CHECKING:
    from collections.abc import Iterator

EXITS = (
    ("0", "it did what was asked for"),
    ("1", "an error that nobody expected; please report it"),
    ("2", "the configuration or the command line has faults, each of which is named"),
    ("3", "this kernel or this user cannot run it, or another monitor does"),
    ("130", "interrupted"),
)
SIGNALS = (
    ("SIGHUP", "the settings are read again; a file with faults changes nothing"),
    ("SIGUSR1", "all counters are logged"),
    ("SIGTERM, SIGINT", "the monitor ends; what is owed is kept, and sent at the next start"),
)
FILES = (
    ("/etc/sockbpf/config.yaml", "the settings of the service: `sockbpf.yaml`(5)"),
    ("/var/lib/sockbpf/journal", "alerts that are owed"),
    ("/var/lib/sockbpf-store/alerts.sqlite", "alerts that the store keeps"),
    ("/run/sockbpf/monitor.sock", "where the running monitor is asked"),
)


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield each option and argument as it is typed, with its help."""
    formatter = parser.formatter_class(prog=parser.prog)
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to ask
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        said = formatter._format_action_invocation(action)  # noqa: SLF001
        yield said, formatter._expand_help(action)  # noqa: SLF001


def sockbpf() -> str:
    """Make the page of the commands."""
    page = Page("sockbpf", 8, __version__, "alerts the moment a socket queue is over its threshold, or hangs")
    page.section("Synopsis")
    for command in COMMANDS.values():
        page.paragraph(f"`{command.usage}`")
    page.section("Description")
    page.paragraph(
        "Watches, from inside the kernel, how many bytes stand in the send and receive queue of every TCP and UDP "
        "socket of a host. The moment a queue exceeds its threshold, or nothing has left it for a while, or a "
        "listener's accept queue is nearly full, an HTTP GET names the socket, the direction, the size, the instant, "
        "whose the socket is and why, until the monitor is killed."
    )
    page.section("Options")
    for typed, said in options(door()):
        page.entry(typed, said)
    page.section("Commands")
    for name, command in COMMANDS.items():
        one = argparse.ArgumentParser(prog=f"sockbpf {name}", add_help=False)
        command.add_options(one)
        page.subsection(f"sockbpf {name}")
        page.paragraph(f"{command.summary[0].upper()}{command.summary[1:]}.")
        for typed, said in options(one):
            page.entry(typed, said)
        if command.more:
            page.verbatim(command.more.splitlines())
        page.paragraph(f"Example: `{command.example}`")
    for title, rows in (("Exit status", EXITS), ("Signals", SIGNALS), ("Files", FILES)):
        page.section(title)
        for word, said in rows:
            page.entry(word, said)
    _see_also(page, "sockbpf.yaml(5)", "check_sockbpf(8)", "ss(8)", "tcp(7)", "udp(7)")
    return page.text()


def check_sockbpf() -> str:
    """Make the page of the plug-in."""
    parser = check.parser()
    page = Page(
        "check_sockbpf", 8, __version__, "checks socket queues, for Nagios and what takes its plug-ins"
    )
    page.section("Synopsis")
    page.paragraph(f"`{parser.usage}`")
    page.section("Description")
    page.paragraph(str(parser.description))
    page.verbatim(check.HELP.splitlines())
    page.section("Options")
    for typed, said in options(parser):
        page.entry(typed, said)
    page.section("Exit status")
    for state in State:
        page.entry(str(state.value), state.name)
    _see_also(page, "sockbpf(8)", "sockbpf.yaml(5)")
    return page.text()


def _see_also(page: Page, *pages: str) -> None:
    page.section("See also")
    page.paragraph(", ".join(f"`{name[:-3]}`{name[-3:]}" for name in pages) + ".")
    page.paragraph("/usr/share/doc/sockbpf/docs/runbook.md: what to do about each alert.")
