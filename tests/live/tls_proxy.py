# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A port that speaks TLS, and hands what it is told to one that does not."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def tls_proxy(at: int, to: int, context: ssl.SSLContext) -> Iterator[None]:
    """Serve at a port of loopback, while `to` is another one."""

    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            inner = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(_pump(reader, inner[1]), _pump(inner[0], writer))

    async def serve() -> None:
        server = await asyncio.start_server(each, "127.0.0.1", at, ssl=context)
        begun.set()
        await asyncio.to_thread(over.wait)
        server.close()

    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert begun.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join(20)
