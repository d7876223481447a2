# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""TLS that begins after a connection was accepted, so that the connection is counted before the handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable


def begin_tls(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    context: ssl.SSLContext,
    patience_s: float,
    ended: Callable[[asyncio.Transport | None], None],
    *,
    early: bytes = b"",
) -> None:
    """Begin the handshake of a server; the loop must be uvloop's.

    `ended` is called with the transport of TLS before the protocol is given any data, or with None where the
    handshake failed. The handshake may take `patience_s`, and so may the client's part of the end of TLS. `early` is
    what has been read from the client already.
    """
    # The first step is done here and now. A task would do it in the loop's next turn: what the client sends
    # before that would be read as HTTP, for uvloop begins to read once `connection_made` returns.
    steps = loop.start_tls(
        transport,
        transport.get_protocol(),
        context,
        server_side=True,
        ssl_handshake_timeout=patience_s,
        ssl_shutdown_timeout=patience_s,
    )

    def go_on(_: Any) -> None:
        try:
            steps.send(None)
        except StopIteration as over:
            # If we have aborted the connection, the handshake ends without an error.
            ended(None if over.value.is_closing() else over.value)
        except OSError:  # every error of TLS is an OSError
            ended(None)

    steps.send(None).add_done_callback(go_on)
    if early:
        # The first step has called for the protocol's `connection_made` so too: this comes behind it, before a read.
        loop.call_soon(_feed, transport.get_protocol(), early)


def _feed(protocol: Any, data: bytes) -> None:
    while data:
        room = protocol.get_buffer(len(data))
        some = data[: len(room)]
        room[: len(some)] = some
        protocol.buffer_updated(len(some))
        data = data[len(some) :]
