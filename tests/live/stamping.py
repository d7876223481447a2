# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver in a process of its own, for times: it writes the Unix time of each request and its target, a line each.

The tests' own threads would hold it up, and what is measured would be them.
"""

from __future__ import annotations

import os
import queue
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

END = b"\r\n\r\n"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
PATIENCE_S = 60


def serve(port: int) -> None:
    """Answer 204 for ever; at a free port if it is 0."""
    listener = socket.create_server(("127.0.0.1", port))
    print(listener.getsockname()[1], flush=True)
    chosen = selectors.DefaultSelector()
    chosen.register(listener, selectors.EVENT_READ)
    pending: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in chosen.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                accepted = listener.accept()[0]
                pending[accepted] = b""
                chosen.register(accepted, selectors.EVENT_READ)
                continue
            try:
                read = sock.recv(1 << 16)
            except ConnectionResetError:  # a request that was given up
                read = b""
            now = time.time()
            pending[sock] += read
            while END in pending[sock]:
                request, _, pending[sock] = pending[sock].partition(END)
                sock.sendall(ANSWER)
                print(f"{now:.6f} {request.split()[1].decode()}", flush=True)
            if not read:
                chosen.unregister(sock)
                del pending[sock]
                sock.close()


@dataclass
class Stamps:
    """The running receiver; `next` waits for a request."""

    url: str
    process: subprocess.Popen[bytes]
    _written: queue.SimpleQueue[bytes] = field(default_factory=queue.SimpleQueue)
    _lines: deque[bytes] = field(default_factory=lambda: deque([b""]))
    """Whole ones, and behind them what has come of the next."""

    def keep(self) -> None:
        """Take what it writes, for ever: it would wait for who reads, and the monitor for it."""
        assert self.process.stdout is not None
        while some := os.read(self.process.stdout.fileno(), 1 << 16):
            self._written.put(some)

    def next(self, **wanted: object) -> tuple[float, dict[str, str]]:
        """Return the Unix time and the parameters of the next alert that has these parameters.

        Raise queue.Empty when none comes.
        """
        strings = {key: str(value) for key, value in wanted.items()}
        while True:
            while len(self._lines) == 1:
                self._lines.extend((self._lines.pop() + self._written.get(timeout=PATIENCE_S)).split(b"\n"))
            stamp, target = self._lines.popleft().decode().split()
            told = dict(parse_qsl(urlsplit(target).query))
            if strings.items() <= told.items():
                return float(stamp), told


def stamping(stack: ExitStack, port: int = 0) -> Stamps:
    """Start the receiver, at a free port if it is 0; it ends with the stack."""
    process = stack.enter_context(
        subprocess.Popen([sys.executable, __file__, str(port)], stdout=subprocess.PIPE, bufsize=0)
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    stamps = Stamps(f"http://127.0.0.1:{int(process.stdout.readline())}/alert", process)
    keeper = threading.Thread(target=stamps.keep, daemon=True)
    keeper.start()
    stack.callback(keeper.join)  # before the pipe that it reads is closed
    stack.callback(process.kill)
    return stamps


if __name__ == "__main__":
    serve(int(sys.argv[1]))
