# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Short of something, the monitor goes on, or says why not and ends.

A port that is taken, too few files, no more threads, settings that cannot be read.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver, receiving
from tests.live.reloading import change
from tests.live.sockets import drain, fill, port, tcp_pair
from tests.live.surroundings import UNREAD, settings_of, shown
from tests.live.waiting import until


def test_a_metrics_port_that_is_taken_is_a_warning_and_is_had_later(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        listen = f"127.0.0.1:{port(taken)}"
        monitor = start_monitor(metrics={"listen": listen}, thresholds=thresholds(20_011))
        client, _server = tcp_pair(stack)
        fill(client)
        receiver.first(event="exceeded", local_port=port(client), type="SEND")
        until(lambda: "metrics > listen: cannot serve on 127.0.0.1 port" in monitor.log(), "the warning")
    until(lambda: shown(listen, "metrics_failed") >= 1, "served, once the port is free", 90)
    assert monitor.stop() == 0


def test_too_few_files_are_refused_with_the_remedy(tmp_path: Path, receiver: Receiver) -> None:
    command = settings_of(tmp_path, receiver)
    ran = subprocess.run(
        ["prlimit", "--nofile=32:32", *command], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (3, "")
    assert re.fullmatch(
        r"no more than 32 files may be open, \d+ are wanted\. Remedy: ulimit -n \d+, .*\n", ran.stderr
    )


def test_a_soft_limit_of_files_is_raised(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(before=["prlimit", "--nofile=32:4096"], thresholds=thresholds(20_011))
    client, _server = tcp_pair(stack)
    fill(client)
    receiver.first(event="exceeded", local_port=port(client), type="SEND")
    assert monitor.stop() == 0


@contextmanager
def no_more_threads(pid: int) -> Iterator[None]:
    """Keep a process from starting another thread, by its control group."""
    root = next(
        (each for each in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if has_pids(each)), None
    )
    if root is None:
        pytest.skip("no control group that counts processes")
    group = root / f"sockbpf-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("1")
        yield
        (group / "pids.max").write_text("max")
        (root / "cgroup.procs").write_text(str(pid))
    finally:
        with suppress(OSError):
            group.rmdir()


def has_pids(root: Path) -> bool:
    control = root / "cgroup.subtree_control"
    return root.is_dir() and (root.name == "pids" or (control.exists() and "pids" in control.read_text()))


def test_new_settings_when_no_thread_can_be_started_are_not_taken_and_nothing_is_lost(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(thresholds=thresholds(20_011))
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    receiver.first(event="exceeded", local_port=port(server), type="RECV")
    other = stack.enter_context(receiving())
    with no_more_threads(monitor.pid):
        before = len(os.listdir(f"/proc/{monitor.pid}/task"))
        for _ in range(3):
            change(monitor, url=other.url, thresholds=thresholds(1 << 30))
        until(
            lambda: len(os.listdir(f"/proc/{monitor.pid}/task")) <= before, "no thread is left of the tries"
        )
        assert (
            "the settings are kept, the new ones cannot be taken: the thread http-deadline cannot be"
            in monitor.log()
        )
        drain(server, UNREAD)
        client.sendall(bytes(UNREAD))
        receiver.count(2, event="exceeded", local_port=port(server), type="RECV")
    change(monitor, url=other.url, thresholds=thresholds(20_011))
    drain(server, UNREAD)
    client.sendall(bytes(UNREAD))
    other.first(event="exceeded", local_port=port(server), type="RECV")
    assert monitor.stop() == 0
    assert monitor.counters()["reload_failed"] == 3


@pytest.mark.parametrize("what", ["a folder", "no text", "not there"])
def test_settings_that_cannot_be_read_are_not_taken(start_monitor: StartMonitor, what: str) -> None:
    monitor = start_monitor(kernel={"hooks": "none"})
    file = monitor.log_file.with_name("config.yaml")
    file.unlink()
    if what == "a folder":
        file.mkdir()
    elif what == "no text":
        file.write_bytes(os.urandom(100_003))
    monitor.process.send_signal(signal.SIGHUP)
    until(lambda: "the settings are kept" in monitor.log(), "the word")
    assert monitor.stop() == 0
    assert monitor.counters()["reload_failed"] == 1
