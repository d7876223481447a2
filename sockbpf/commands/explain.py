# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf explain`: which rule applies to the sockets of an address or of a process, and why."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from sockbpf.counters import Counters
from sockbpf.errors import ConfigError
from sockbpf.kernel.attach.arm import need_root
from sockbpf.kernel.look.choice import look_of
from sockbpf.monitor.explaining import explained, inodes_of
from sockbpf.monitor.terms import NEVER
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.monitor.explaining import Explained
    from sockbpf.record.event import Socket
    from sockbpf.settings.config import Config

MOST_PORT = 65535
WORDS = (
    "expected an address with its port, such as 10.0.0.7:443, [::1]:443 or *:443, or the number of a process"
)


def explain(config: Config, what: str) -> int:
    """Print the rule of each queue that is meant, and why; return 0, or 1 if there is no such socket."""
    is_meant = _meant(what)
    need_root()
    out = Console(soft_wrap=True)
    look, _ = look_of(config.kernel.look, config.kernel.types, Counters())
    found = False
    with closing(look):
        for one in explained(config, look, is_meant):
            found = True
            _print(out, one)
    if not found:
        out.print(f"no TCP or UDP socket of {escape(what)} has queues now; listeners are not looked at")
    return 0 if found else 1


def _meant(what: str) -> Callable[[Socket], bool]:
    """Return what tells whether a socket is meant; raise ConfigError."""
    if re.fullmatch(r"[1-9][0-9]{0,9}", what):
        try:
            inodes = frozenset(inodes_of(int(what)))
        except OSError:
            port = f"; of a port: *:{what}" if int(what) <= MOST_PORT else ""
            raise ConfigError([f"{what}: no such process{port}"]) from None
        return lambda socket: socket.inode in inodes
    ip, _, port = what.rpartition(":")
    ip = ip.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > MOST_PORT or not _is_address(ip):
        raise ConfigError([f"{printable(what)}: {WORDS}"])

    def is_meant(socket: Socket) -> bool:
        ends = ((socket.local_ip, socket.local_port), (socket.remote_ip, socket.remote_port))
        return any(number == int(port) and ip in {"*", address, _plain(address)} for address, number in ends)

    return is_meant


def _is_address(ip: str) -> bool:
    with suppress(ValueError):
        return ip == "*" or bool(ip_address(ip))
    return False


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def _shown(name: str) -> str:
    """Return a name that somebody chose as it can be printed."""
    return escape(printable(name))


def _print(out: Console, one: Explained) -> None:
    socket = one.socket
    local, remote = f"{socket.local_ip}:{socket.local_port}", f"{socket.remote_ip}:{socket.remote_port}"
    owner = f", process {_shown(one.who.process)}" if one.who.process else ""
    cgroup = f", cgroup {_shown(one.who.cgroup)}" if one.who.cgroup else ""
    out.print(
        f"[bold]{socket.protocol.name.lower()} {local} > {remote} {one.direction.name}[/]"
        f" (user {socket.uid}, netns {socket.netns}{owner}{cgroup})"
    )
    for name, keys in one.passed:
        out.print(f"  {_shown(name)}: does not match: {', '.join(keys)}")
    unit = "% of the buffer" if one.levels.of_buffer else " bytes"
    ignored = one.levels.threshold == NEVER[0]
    level = "ignored" if ignored else f"threshold {one.levels.threshold}{unit}"
    if one.rule:
        out.print(f"  [green]{_shown(one.rule.decision.applied.rule)}[/]: applies, {level}")
    else:
        out.print(f"  no rule applies: {level}")
