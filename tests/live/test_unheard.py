# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A log that nobody reads or that cannot be written stops nothing; an end and a thread that hangs are still said.

What a single call may do to a thread is the matter of test_faults.py.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from sockbpf.process.logs import MOST_BYTES, LogWriter
from tests.live.monitoring import Monitor
from tests.live.ports import free_port
from tests.live.receiver import Receiver
from tests.live.sockets import drain, fill, port, tcp_pair
from tests.live.surroundings import UNREAD, settings_of, shown
from tests.live.waiting import until

BURSTS = 503


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
