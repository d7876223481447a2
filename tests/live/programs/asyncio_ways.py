# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A server of asyncio, as a program: it serves well, or hangs in a way of its own.

`serve` answers each request of HTTP; `block` waits in a handler with time.sleep, which stops the whole loop;
`forget` never reads what a client sends; `listen` listens and never accepts.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwell\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def block(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line == b"sleep\n":
            writer.write(b"sleeping\n")
            await writer.drain()
            time.sleep(3600)  # noqa: ASYNC251  the fault that this is about
        writer.write(line)


async def forget(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)
    writer.close()


async def run(way: str, port: int) -> None:
    handlers = {"serve": serve, "block": block, "forget": forget}
    server = await asyncio.start_server(handlers[way], "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    chosen, number = sys.argv[1], int(sys.argv[2])
    if chosen == "listen":
        with socket.create_server(("127.0.0.1", number)):
            threading.Event().wait()
    asyncio.run(run(chosen, number))
