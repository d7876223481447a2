# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What stands in a queue is in the history of its service, over or not, with the size that `ss` shows."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from tests.live.monitoring import launch, thresholds
from tests.live.ports import free_port
from tests.live.waiting import until
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN, find

UNREAD = 37_139
"""What no other test leaves in a queue, should one run beside this."""


def recv_q(port: int) -> int:
    """Return what `ss` says stands in the queue of the connection to this port."""
    shown = subprocess.run(
        ["ss", "-Htn", "sport", "=", f":{port}"], capture_output=True, text=True, check=True
    ).stdout
    return max(int(line.split()[1]) for line in shown.splitlines())


def test_it_says_what_ss_shows(start: StartStore, tmp_path: Path, stack: ExitStack) -> None:
    store = start(f"sqlite:///{tmp_path / 'alerts.sqlite'}", token=TOKEN)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    stack.enter_context(listener.accept()[0])
    client.sendall(bytes(UNREAD))
    until(lambda: recv_q(port) == UNREAD, "it stands in the queue")
    begin_s = time.time()
    settings = {
        "thresholds": thresholds(1 << 30),
        "store": {"listen": ""},
        "destinations": [{"type": "store", "url": store.url, "token": TOKEN}],
    }
    monitor = launch(tmp_path / "monitor", f"http://127.0.0.1:{free_port()}/", settings)
    stack.callback(monitor.stop)
    monitor.wait_armed()
    time_of_a_look = (time.time() - 5) // 10 * 10 + 15
    until(lambda: time.time() > time_of_a_look + 2, "a look was due")
    assert monitor.stop() == 0
    assert find(store) == []  # no alert
    host = socket.gethostname()
    found = find(
        store,
        "/history",
        from_=begin_s - 60,
        to=time.time() + 60,
        host=host,
        protocol="tcp",
        type="RECV",
        top=20,
    )
    mine = [each for each in found["series"] if UNREAD in each["size"]]  # type: ignore[call-overload]
    assert mine, found
    (series,) = mine
    at = series["size"].index(UNREAD)
    assert series["sockets"][at] >= 1
    assert 10 < series["fill"][at] < 100, "of a buffer of 128 KiB or so"
    assert series["drops"][at] == 0
