# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor runs the store that its alerts go to: as somebody without rights, and not for longer than itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import requests

from tests.live.ports import free_port
from tests.live.sockets import port
from tests.live.waiting import until
from tests.store.both import StartBoth, child, cross, has
from tests.store.serving import start_store, told

ROOT = Path(__file__).parents[2]


def test_what_the_monitor_sees_is_in_the_store(start_both: StartBoth, stack: ExitStack) -> None:
    listen = free_port()
    monitor = start_both(listen)
    number = cross(stack)
    until(lambda: has(listen, number), "the alert in the store")
    assert monitor.stop() == 0
    assert monitor.counters()["given_up"] == 0


def test_a_store_that_is_killed_comes_back_and_misses_nothing(
    start_both: StartBoth, stack: ExitStack
) -> None:
    listen = free_port()
    monitor = start_both(listen)
    until(lambda: "the store listens" in monitor.log(), "it listens")
    os.kill(child(monitor), signal.SIGKILL)
    numbers = [cross(stack) for _ in range(7)]
    until(lambda: has(listen, *numbers), "all alerts in the store")
    assert "the store has ended, exit code -9" in monitor.log()


def test_a_port_that_is_taken_is_said_and_the_monitor_goes_on(
    start_both: StartBoth, stack: ExitStack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monitor = start_both(port(taken))
        until(lambda: "Address already in use" in monitor.log(), "the reason")
        number = cross(stack)
        until(lambda: f"local_port={number} " in monitor.log(), "the alert in the log")
    assert "Traceback" not in monitor.log()


def test_a_store_that_nobody_sends_to_is_not_started(start_both: StartBoth) -> None:
    monitor = start_both(free_port(), url=f"http://127.0.0.1:{free_port()}/alert")
    assert not child(monitor)
    assert "store" not in monitor.log()


def test_it_runs_from_a_folder_that_only_root_may_read(folder: Path) -> None:
    """As from a checkout in root's home: everything is read and imported before it becomes nobody."""
    hidden = folder / "hidden"
    hidden.mkdir(mode=0o700)
    for name in ("sockbpf", "bpf"):
        shutil.copytree(ROOT / name, hidden / name)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    program = (
        f"mount --bind {packages} {hidden}/packages && mount -t tmpfs none {ROOT} && "
        f"cd {hidden} && exec /usr/bin/python3 -m sockbpf store -c {folder}/config.yaml"
    )
    (hidden / "packages").mkdir()
    listen = free_port()
    (folder / "config.yaml").write_text(
        f"url: http://127.0.0.1:{listen}/alert\n"
        f"store: {{listen: '127.0.0.1:{listen}', database: 'sqlite:///{folder}/store/alerts.sqlite'}}\n"
    )
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", program],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{hidden}:{hidden}/packages"},
            stdout=sink,
            stderr=sink,
        )
    try:
        until(lambda: "the store listens" in log.read_text() or process.poll() is not None, "it listens")
        assert process.poll() is None, log.read_text()
        url = f"http://127.0.0.1:{listen}"
        assert requests.get(f"{url}/alert", params=told(1), timeout=9).json() == {"new": True}, (
            log.read_text()
        )
        assert requests.get(f"{url}/store.json?port=8443", timeout=9).json()[0]["id"] == told(1)["id"]
        assert "<html" in requests.get(url, timeout=9).text
        with requests.get(f"{url}/stream", headers={"Last-Event-ID": "0"}, stream=True, timeout=9) as stream:
            assert any(line.startswith(b"data: ") for line in stream.iter_lines())
        assert requests.get(f"{url}/nowhere", timeout=9).status_code == 404
    finally:
        process.terminate()
        process.wait(20)
    assert "Traceback" not in log.read_text()


def test_a_database_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = start_store(tmp_path / "store", f"sqlite:///{tmp_path}/file/alerts.sqlite", healthy=False)
    assert store.process.wait(30) == 1
    assert "store > database" in store.log()
    assert "Traceback" not in store.log()
