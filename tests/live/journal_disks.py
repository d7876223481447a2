# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A disk for the journal that fills up or fails, and what the monitor says and keeps of it."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from sockbpf.delivery.journal_lines import read
from tests.live.monitoring import Monitor, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver, Told
from tests.live.sockets import drain, port
from tests.live.waiting import until

UNREAD = 30_011
REOPEN_S = 90
"""A deadline; it is tried every 30 s."""

IN_MEMORY, AGAIN = "the journal cannot be used", "the journal is used again"

OWED_TO = "nobody"


def mount(stack: ExitStack, at: Path, *arguments: str) -> None:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments, str(at)], check=True)
    # Lazily: whoever still has a file open there must not keep it.
    stack.callback(subprocess.run, ["umount", "-l", str(at)], check=True)


def remount(at: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(at)], check=True)


def fill(file: Path) -> None:
    """Take every byte that is left where this file is."""
    with file.open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 9, 1):
            with suppress(OSError):
                while True:
                    filler.write(bytes(size))
                    os.fsync(filler.fileno())


Pair = tuple[socket.socket, socket.socket]


def alerted(receiver: Receiver, pair: Pair) -> Told:
    """Cross and drain; assert that both are told; return the crossing's alert."""
    client, server = pair
    seen = len(receiver.alerts(event="cleared", local_port=port(server), type="RECV"))
    client.sendall(bytes(UNREAD))
    receiver.count(seen + 1, event="exceeded", local_port=port(server), type="RECV")
    drain(server, UNREAD)
    return receiver.count(seen + 1, event="cleared", local_port=port(server), type="RECV")[-1]


def settings(journal: Path) -> dict[str, Any]:
    """One more destination, that never takes anything: the journal is to keep what it is owed."""
    return {
        "thresholds": thresholds(20_011),
        "journal": {"path": str(journal)},
        "destinations": [
            {
                "type": "http",
                "name": OWED_TO,
                "url": f"http://127.0.0.1:{free_port()}/",
                "events": ["cleared"],
            }
        ],
    }


def said(monitor: Monitor, what: str) -> list[str]:
    return [line for line in monitor.log().splitlines() if what in line]


def assert_said_once(monitor: Monitor, *reasons: str) -> None:
    (line,) = said(monitor, IN_MEMORY)
    print(line)
    assert any(reason in line for reason in reasons), line
    assert " ERROR " in line


def owed_in(journal: Path) -> set[tuple[str, str]]:
    """Return the id and seq of all that the journal says is owed to the destination that takes nothing."""
    owed = read(journal.read_bytes()).owed.values()
    return {(one.fields["id"], one.fields["seq"]) for one in owed if one.destination == OWED_TO}


def assert_in_use(monitor: Monitor, receiver: Receiver, journal: Path, failed: int) -> None:
    """Stop the monitor; assert that the journal holds all that was told and not taken, and what was counted."""
    assert monitor.stop() == 0
    counters = monitor.counters()
    assert counters["journal_failed"] == failed
    assert counters["given_up"] == counters["dropped"] == 0
    ends = {(told["id"], told["seq"]) for told in receiver.alerts(event="cleared")}
    assert len(ends) > 1
    assert owed_in(journal) == ends


def await_again(monitor: Monitor) -> None:
    until(lambda: said(monitor, AGAIN), "the journal is taken up again", REOPEN_S)
    assert len(said(monitor, AGAIN)) == 1


def cross_until_said(monitor: Monitor, receiver: Receiver, pair: Pair) -> None:
    """Alert after alert, the disk gets to be needed."""
    told = 0

    def is_said() -> bool:
        nonlocal told
        alerted(receiver, pair)
        told += 1
        return bool(said(monitor, IN_MEMORY))

    until(is_said, "the trouble is said")
    print(f"after {told} alerts more")
