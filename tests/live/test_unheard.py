# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Surroundings that are slow, short of something or in a hurry: the monitor goes on, or says why not and ends.

A stderr that nobody reads, a port that is taken, too few files, no more threads, a thread that hangs, signals while
it loads. What a single call may do to a thread is the matter of test_faults.py.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from sockbpf.process.logs import MOST_BYTES, LogWriter
from tests.live.monitoring import Monitor, StartMonitor, compilers, sockbpf, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver, receiving
from tests.live.reloading import change
from tests.live.sockets import drain, fill, port, tcp_pair
from tests.live.waiting import until

UNREAD = 30_011
BURSTS = 503
STARTS = 7
"""How many starts are disturbed by signals."""


def settings_of(folder: Path, receiver: Receiver, **more: object) -> list[str]:
    """Write settings; return the command that goes by them."""
    settings = {
        "url": receiver.url, "kernel": {"hooks": "none"}, "sweep": {"poll": "100ms"},
        "journal": {"path": str(folder / "journal")}, "thresholds": thresholds(20_011),
    } | more  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return sockbpf("-c", str(folder / "config.yaml"), "--ready-file", str(folder / "ready"), "--beside")


def test_a_stderr_that_nobody_reads_stops_nothing(
    tmp_path: Path, receiver: Receiver, stack: ExitStack
) -> None:
    command = settings_of(
        tmp_path, receiver, kernel={"hooks": "auto"}, events=["exceeded", "cleared"], flapping={"above": 0}
    )
    reader, writer = os.pipe()
    with subprocess.Popen(command, stderr=writer) as monitor:
        os.close(writer)
        try:
            until((tmp_path / "ready").exists, "armed")
            client, server = tcp_pair(stack)
            for _ in range(BURSTS):
                client.sendall(bytes(UNREAD))
                drain(server, UNREAD)
            receiver.count(2 * BURSTS, local_port=port(server), type="RECV")
            monitor.send_signal(signal.SIGTERM)
            assert monitor.wait(60) == 0, "and it ends"
        finally:
            monitor.kill()
            os.close(reader)


@pytest.mark.parametrize("closed", ["by the reader", "from the start", "by a full disk"])
def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, receiver: Receiver, stack: ExitStack, closed: str
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    command = settings_of(tmp_path, receiver, metrics={"listen": metrics})
    if closed == "from the start":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    reader, writer = os.pipe()
    if closed == "by a full disk":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    with subprocess.Popen(command, stderr=writer) as monitor:
        os.close(writer)
        os.close(reader)
        try:
            client, _server = tcp_pair(stack)
            fill(client)
            receiver.first(event="exceeded", local_port=port(client), type="SEND")
            if closed != "from the start":  # then it is as if it were /dev/null
                until(lambda: shown(metrics, "log_dropped") > 0, "counted")
            monitor.send_signal(signal.SIGTERM)
            assert monitor.wait(60) == 0
        finally:
            monitor.kill()


def shown(metrics: str, name: str) -> float:
    """Return a counter as it is served; -1 while nothing is."""
    with suppress(OSError), urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5) as answer:
        return float(re.findall(rf"^sockbpf_{name}_total (\S+)$", answer.read().decode(), re.MULTILINE)[0])
    return -1.0


def test_what_no_memory_is_left_for_is_counted_and_said_when_lines_are_taken_again() -> None:
    reader, write_end = os.pipe()
    writer = LogWriter(write_end)
    line = "x" * 1009
    lines = MOST_BYTES // len(line) + 211
    from sockbpf.process.life import start_thread

    start_thread("log", writer.run)
    for _ in range(lines):
        writer.put(line)
    dropped = writer.dropped()
    assert dropped > 0
    writer.put("urgent", is_urgent=True)
    assert writer.dropped() == dropped, "room is kept for it"
    taken = bytearray()

    def take() -> None:
        while data := os.read(reader, 1 << 16):
            taken.extend(data)

    thread = threading.Thread(target=take)
    thread.start()
    assert writer.drain(60)
    os.close(write_end)
    thread.join(60)
    os.close(reader)
    said = taken.decode().splitlines()
    assert said.count(line) == lines - dropped
    assert f"{dropped} lines of the log were dropped: nobody read them in time" in said
    assert "urgent" in said


def test_a_metrics_port_that_is_taken_is_a_warning_and_is_had_later(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
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
            lambda: len(os.listdir(f"/proc/{monitor.pid}/task")) == before, "no thread is left of the tries"
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


def holds(pid: int, number: int) -> bool:
    """Whether the kernel keeps this signal for the process, or its handler is there."""
    with suppress(OSError):
        masks = dict(
            re.findall(r"^(SigBlk|SigCgt):\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        )
        return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())
    return False


def has_begun(pid: int) -> bool:
    """Whether the process is importing what reads settings."""
    with suppress(OSError):
        return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()
    return False


@pytest.mark.parametrize("when", ["while it imports", "while it compiles"])
def test_a_signal_while_it_loads_ends_nothing_and_is_taken_after(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, when: str
) -> None:
    """Whether the settings had been read by then or not: those that were there at the signal hold in the end."""
    monitor = start_monitor(armed=False, thresholds=thresholds(1 << 30))
    reached = has_begun if when == "while it imports" else compilers
    until(lambda: reached(monitor.pid) or monitor.process.poll() is not None, when)
    file = monitor.log_file.with_name("config.yaml")
    changed = file.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"thresholds": thresholds(20_011)}))
    changed.replace(file)
    monitor.process.send_signal(signal.SIGHUP)
    monitor.process.send_signal(signal.SIGUSR1)
    monitor.wait_armed()
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    receiver.first(event="exceeded", local_port=port(server), type="RECV", threshold=20_011)
    assert monitor.stop() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_start_can_be_ended_at_any_instant_and_leaves_nothing(
    start_monitor: StartMonitor, number: int, code: int
) -> None:
    chance = random.Random(number)
    for _ in range(STARTS):
        monitor = start_monitor(armed=False)
        until(lambda: holds(monitor.pid, signal.SIGTERM), "it has begun")  # noqa: B023
        end_s = time.monotonic() + chance.uniform(0, 1.5)
        until(lambda: time.monotonic() > end_s, "an instant")  # noqa: B023
        children = compilers(monitor.pid)
        for _ in range(3):
            monitor.process.send_signal(number)
        assert monitor.process.wait(60) == code, monitor.log()
        assert not monitor.ready_file.exists()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "its children ended")  # noqa: B023
        assert "Traceback" not in monitor.log()


HANGING = """
import sys, threading
from sockbpf import cli
from sockbpf.process import life
life.start_thread.__kwdefaults__["limit_s"] = 12.0  # else a minute
from sockbpf.kernel.look import sweep
real, sweeps = sweep.namespaces, [0]
def namespaces():
    sweeps[0] += 1
    if sweeps[0] == 3:
        threading.Event().wait()  # as a look into /proc, setns or a netlink socket would
    return real()
sweep.namespaces = namespaces
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_thread_that_hangs_is_said_and_the_watchdog_is_told_no_more(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", HANGING, *settings_of(tmp_path, receiver)[3:]]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (tmp_path / "log").open("wb") as sink:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "900000")
        told: list[tuple[float, bytes]] = []

        def listen() -> None:
            with suppress(OSError):
                while True:
                    told.append((time.monotonic(), manager.recv(4096)))

        with subprocess.Popen(command, stderr=sink) as process:
            monitor = Monitor(process, tmp_path / "log", tmp_path / "ready", time.monotonic())
            try:
                threading.Thread(target=listen, daemon=True).start()
                monitor.wait_armed()
                until(lambda: "the thread sweep hangs" in monitor.log(), "it is said")
                fed = sum(words == b"WATCHDOG=1" for _, words in told)
                assert fed > 3, "until then it was told"
                said_s = time.monotonic()
                until(lambda: time.monotonic() > said_s + 3, "three times the watchdog's patience")
                assert sum(words == b"WATCHDOG=1" for _, words in told) <= fed + 1
                assert monitor.stop() == 0, "a thread that hangs does not hold up the end"
                assert monitor.counters()["late"] == 1
            finally:
                process.kill()
        manager.shutdown(socket.SHUT_RD)


DYING = """
import sys
from sockbpf import cli
from sockbpf.kernel.look import sweep
def namespaces():
    raise MemoryError
sweep.namespaces = namespaces
sys.exit(cli.main(sys.argv[1:]))
"""


def test_the_end_is_said_and_in_time_though_nobody_reads_stderr(
    tmp_path: Path, receiver: Receiver, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", DYING, *settings_of(tmp_path, receiver)[3:]]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(1 << 16))
    os.set_blocking(writer, True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        client, _server = tcp_pair(stack)
        fill(client)
        with subprocess.Popen(command, stderr=writer) as process:
            try:
                words = b""
                while b"ends, exit code 1" not in words:
                    words = manager.recv(4096)
                heard_s = time.monotonic()
                assert process.wait(60) == 1
                print(f"ended {time.monotonic() - heard_s:.3f} s after it was said: {words.decode()}")
                assert re.search(
                    rb"STATUS=sockbpf ends, exit code 1: the thread \S+ cannot go on: Mem", words
                )
            finally:
                process.kill()
                os.close(writer)
                os.close(reader)
