# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The names of containers, from real files and sockets; of those that hang, lie or flood the reason."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sockbpf.kernel.look import container_names
from sockbpf.kernel.look.container_names import MOST_CHARACTERS, read_names
from sockbpf.monitor.container_names import ContainerNames
from sockbpf.record.socket_row import Whose

ID = "0123456789abcdef" * 4
SHORT = ID[:12]
INSIDE = Whose(process_cgroup=f"/docker/{ID}")
OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
DEADLINE_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder for sockets; pytest's own have too long names."""
    with TemporaryDirectory(prefix="sb-") as name:
        yield Path(name)


@contextmanager
def daemon(at: Path, answer: Callable[[socket.socket], None]) -> Iterator[list[bytes]]:
    """Have somebody listen there, who answers each request so; yield the requests."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(at))
        server.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        asked.append(connection.recv(4096))
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


def listing(*containers: object) -> Callable[[socket.socket], None]:
    body = json.dumps(containers).encode()
    return lambda connection: connection.sendall(OK + body)


def drip(connection: socket.socket) -> None:
    for _ in range(999):
        connection.sendall(b"x")
        time.sleep(0.05)


def test_names_of_a_daemon(folder: Path) -> None:
    odd: list[object] = [
        1,
        {},
        {"Id": "short", "Names": ["/a"]},
        {"Id": ID[::-1], "Names": []},
        {"Id": 7, "Names": [7]},
    ]
    with daemon(folder / "s", listing({"Id": ID, "Names": ["/web", "/db/web"]}, *odd)) as asked:
        assert read_names(folder / "s") == {SHORT: "web"}
    assert asked[0].startswith(b"GET /containers/json HTTP/1.0\r\n")


def test_names_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_bytes(b"# id name\n\n%s web 1\n%s  %s\nfeedfacecafe \xff\nshort a\nfeedfacecafe\n" % (
        ID.encode(), b"fedcba987654", b"x" * 4096))  # fmt: skip
    assert read_names(file) == {
        SHORT: "web 1",
        "fedcba987654": "x" * MOST_CHARACTERS,
        "feedfacecafe": "\ufffd",
    }


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda c: c.sendall(b"HTTP/1.0 403 Forbidden\r\n\r\n[]"), "does not answer as Docker"),
        (lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not answer as Docker"),
        (lambda c: None, "does not answer as Docker"),
        (lambda c: c.sendall(OK + b"{"), "no JSON"),
        (lambda c: c.sendall(OK + b"[" * 200_000), "no JSON"),
        (lambda c: [c.sendall(bytes(1 << 20)) for _ in range(9)], "more than"),
        (lambda c: c.recv(1), "timed out"),
        (drip, "timed out"),
    ],
    ids=["refuses", "another", "silent", "cut", "deep", "floods", "hangs", "drips"],
)
def test_a_daemon_that_does_not_tell(
    folder: Path, answer: Callable[[socket.socket], None], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_names, "PATIENCE_S", 0.5 if fault == "timed out" else DEADLINE_S)
    begun_s = time.monotonic()
    with daemon(folder / "s", answer), pytest.raises((OSError, ValueError), match=fault):
        read_names(folder / "s")
    assert time.monotonic() - begun_s < DEADLINE_S


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # nobody writes: reading it as a file would hang
    assert read_names(tmp_path / "fifo") == {}
    with pytest.raises(IsADirectoryError):
        read_names(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_names(tmp_path / "none")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(container_names.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="more than"):
        read_names(tmp_path / "large")


def test_the_loop_never_waits_and_a_fault_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockbpf.monitor.container_names.APART_S", 0.01)
    names, file = ContainerNames(), folder / "names"
    assert names.name(INSIDE) == "", "nobody is asked unless the settings say whom"
    names.prepare(None)
    assert names._thread is None
    names.prepare(file)
    names.use(file)
    with caplog.at_level(logging.WARNING):
        end_s = time.monotonic() + DEADLINE_S
        while not caplog.records and time.monotonic() < end_s:
            assert names.name(INSIDE) == ""
        (said,) = caplog.messages
        assert str(file) in said
        (folder / "new").write_text(f"{ID} web\n")
        (folder / "new").rename(file)
        while not names.name(INSIDE) and time.monotonic() < end_s:
            pass
    assert names.name(INSIDE) == "web"
    assert len(caplog.messages) == 1
    names.use(None)
    assert names.name(INSIDE) == ""
