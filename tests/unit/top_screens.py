# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The screens in docs/top.md, made of a host that is made up: `python -m tests.unit.top_screens` writes them anew."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group

from sockbpf.record.event import Direction, Protocol
from sockbpf.record.moment import Moment, OpenEpisode, Told, ends_of
from sockbpf.record.socket_row import SocketRow, Whose
from sockbpf.screen.state import KEYS, State
from tests.unit.socket_rows import CLOSE_WAIT, MIB, a_listener, a_row

FILE = Path(__file__).parents[2] / "docs" / "top.md"
SCREENS = {
    "80x24": (80, 24, ""),
    "200x50": (200, 50, ""),
    "one socket": (80, 24, "down enter"),
    "groups": (80, 24, "g"),
}
"""Their width and height, and the keys that were pressed."""
NOW_S = 1_700_000_300.0


def rows(second: int) -> list[SocketRow]:
    """Return the sockets of that second: two hang, one is busy, others are small."""

    def whose(pid: int, name: str, user: str, unit: str) -> Whose:
        return Whose(pid, name, user, f"/system.slice/{unit}.service")

    nginx = whose(812, "nginx", "www-data", "nginx")
    postgres = whose(990, "postgres", "postgres", "postgresql")
    app = whose(1204, "python3", "app", "orders")
    hung = a_row(recv=3_903_127, local_port=8000, remote_port=41_207, state=CLOSE_WAIT, whose=app, inode=1)
    stalled = a_row(send=1_871_203, local_port=443, remote_port=50_113, whose=nginx, inode=2)
    busy = a_row(send=400_000 + 9_011 * second, local_port=5432, remote_port=38_020, whose=postgres, inode=3)
    small = [
        a_row(send=1_448 * n, local_port=443, remote_port=50_000 + n, whose=nginx, inode=9 + n)
        for n in range(1, 9)
    ]
    dnsmasq = whose(640, "dnsmasq", "dnsmasq", "dnsmasq")
    dns = a_row(
        protocol=Protocol.UDP,
        recv=2_304,
        local_port=53,
        remote_ip="0.0.0.0",
        remote_port=0,
        whose=dnsmasq,
        inode=4,
    )
    listener = replace(a_listener(7, 128, local_port=8000, inode=5), whose=app)
    still = {Direction.SEND: 1, Direction.RECV: 1}
    moving = {Direction.SEND: second, Direction.RECV: 1}
    return [
        *(replace(row, left=still) for row in (hung, stalled, dns)),
        *(replace(row, left=moving) for row in (busy, *small)),
        listener,
    ]


def a_state() -> State:
    """Return the state after some seconds; the monitor says that two queues are over."""
    state = State()
    for second in range(41):
        seen = rows(second)
        episodes = (
            OpenEpisode(
                ends_of(seen[0]),
                "RECV",
                "size",
                "critical",
                "",
                3_903_127,
                MIB,
                NOW_S - 250,
                held=False,
                cause="reader-stopped",
                reason="python3 (pid 1204) is stopped",
            ),
            OpenEpisode(
                ends_of(seen[1]),
                "SEND",
                "stalled",
                "warning",
                "",
                1_871_203,
                1024,
                NOW_S - 25,
                held=False,
                cause="peer-not-reading",
                reason="the peer has not read for 25 s: its window is 0, 1.8 MiB stand unsent",
            ),
        )
        shown = seen if second < 38 else seen[:-2]  # what ended stays a while
        state.take(Moment(float(second), NOW_S + second - 40, shown, Told(episodes)))
    return state


def screen(width: int, height: int, keys: str) -> str:
    """Return the lines of a screen without the empty ones at its end."""
    state = a_state()
    for key in keys.split():
        state.press(key)
    out = Console(width=width, height=height, file=io.StringIO(), highlight=False)
    with out.capture() as captured:
        out.print(Group(*state.parts(width, height - 1)))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "\n".join([*lines, KEYS])


def document(text: str) -> str:
    """Return the document with its screens made anew."""
    for name, (width, height, keys) in SCREENS.items():
        head, marker, rest = text.partition(f"<!-- {name} -->\n")
        _, fence, tail = rest.partition("\n```\n")
        text = f"{head}{marker}```text\n{screen(width, height, keys)}{fence}{tail}"
    return text


if __name__ == "__main__":
    FILE.write_text(document(FILE.read_text()))
