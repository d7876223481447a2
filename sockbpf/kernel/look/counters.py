# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The counters of a network namespace, by the names that `nstat` prints: /proc/net/{snmp,netstat,snmp6}."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

FOLDER = Path("/proc/thread-self/net")
PAIRS = ("snmp", "netstat")
"""Files of a line with the names and a line with the values for each group."""

LINES = "snmp6"
"""A file with one name and one value on each line; a kernel without IPv6 does not have it."""


def read_all(folder: Path = FOLDER) -> dict[str, int]:
    """Return every counter in the calling thread's network namespace; raise OSError."""
    return {name: value for file in (*PAIRS, LINES) for name, value in _counters(folder, file)}


class CounterReader:
    """Reads some of the counters, and only the files that have them."""

    def __init__(self, wanted: Collection[str], folder: Path = FOLDER) -> None:
        self._wanted = frozenset(wanted)
        self._folder = folder
        in_lines = {name for name in self._wanted if name.startswith(("Ip6", "Icmp6", "Udp6", "UdpLite6"))}
        in_netstat = {name for name in self._wanted if name.startswith(("TcpExt", "IpExt", "MPTcpExt"))}
        in_snmp = self._wanted - in_lines - in_netstat
        named = ((in_snmp, PAIRS[0]), (in_netstat, PAIRS[1]), (in_lines, LINES))
        self._files = tuple(file for names, file in named if names)

    def read(self) -> dict[str, int]:
        """Return those of the calling thread's network namespace that this kernel has; raise OSError."""
        return {
            name: value
            for file in self._files
            for name, value in _counters(self._folder, file)
            if name in self._wanted
        }


def _counters(folder: Path, file: str) -> Iterator[tuple[str, int]]:
    if file == LINES:
        with suppress(FileNotFoundError):
            for line in (folder / file).read_text().splitlines():
                name, _, value = line.partition(" ")
                yield name.rstrip("\t"), int(value)
        return
    lines = (folder / file).read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group, _, rest = names.partition(":")
        for name, value in zip(rest.split(), values.split()[1:], strict=False):
            yield group + name, int(value)
