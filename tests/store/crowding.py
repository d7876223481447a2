# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Run as a user without rights: opens connections to a store without end, whatever it does to them.

Arguments: port, how many at once, what to do with each. Says `full` when all have been opened once, ends with stdin.
"""

import contextlib
import resource
import select
import socket
import struct
import sys
import threading

PORT, COUNT, KIND = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
HOST = b"HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SAYS = {
    "idle": b"",
    "half": b"GET /alert HTT",
    "hello": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40),  # half a ClientHello
    "slow": b"".join(b"GET /store.json?limit=1000 " + HOST + b"\r\n" for _ in range(8)),
    "stream": b"GET /stream " + HOST + b"\r\n",
    "body": b"POST /store.json " + HOST + b"Content-Length: 99999\r\n\r\n{",
}


def end_with_stdin(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, COUNT + 100), hard))
    ended = threading.Event()
    threading.Thread(target=end_with_stdin, args=(ended,), daemon=True).start()
    held: list[socket.socket] = []
    opened = 0
    while not ended.is_set():
        if len(held) >= COUNT:
            for gone in held[: COUNT // 10]:
                gone.close()
            del held[: COUNT // 10]
        with contextlib.suppress(OSError):
            made = socket.socket()
            held.append(made)
            made.settimeout(5)
            made.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # leaves nothing behind
            if KIND == "slow":
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.connect(("127.0.0.1", PORT))
            made.sendall(SAYS[KIND])
        opened += 1
        if opened == COUNT:
            print("full", flush=True)
        if opened > COUNT:
            select.select([], [], [], 0.001)  # a flood without end would be a test of the machine


main()
