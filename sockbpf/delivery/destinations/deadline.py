# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A deadline for a whole request of a requests session, its answer included.

A timeout of requests bounds one read: a receiver that sends a byte now and then, in its headers or in its body,
would hold a worker for ever.
"""

from __future__ import annotations

import math
import socket
import struct
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.util.connection import create_connection

from sockbpf.delivery.destinations.interim import Answer
from sockbpf.process.life import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from sockbpf.process.life import Pulse

CUT_AGAIN_S = 0.1
"""From one cut of the connections to the next, until the request has ended."""

CLOSE_GENTLY, CLOSE_AT_ONCE = (
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0)) for linger in (0, 1)
)
"""What a close does. At once, for a request that is given up: else the kernel goes on sending it from a socket that
belongs to no process, and that nobody could recognise as the monitor's own."""


class Deadline:
    """Knows the connections and sockets of one session, and has a thread that cuts them when time is up.

    The thread runs until `close_gently`. It sleeps until the deadline of a request, even if the answer came long
    before, and looks then for the next deadline: under load it need not be woken for each request.
    """

    def __init__(self, session: requests.Session, place: Callable[[], tuple[str, int]] | None = None) -> None:
        """`place`, where given, is the address and port to which every connection goes, whatever the URL's host.

        Raise NoThreadError.
        """
        self._changed = threading.Condition(threading.Lock())
        """Held to use the attributes below; while it is held, no connection is cut."""
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._late: threading.Event | None = None
        """Of the request under way: set when its time is up."""
        self._due_s = 0.0
        self._wakes_s = float("inf")
        """When the thread wakes up by itself, monotonic seconds."""
        self._thread: threading.Thread | None = None
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self._add, place))
        with self._changed:
            self._start()  # now: when there is an alert to send, the system may have no thread left

    def _start(self) -> None:
        # No limit: it waits as long as there is no request. If it hangs in one, the worker is found late.
        self._thread = start_thread("http-deadline", self._watch, limit_s=math.inf)

    def _add(self, connection_or_socket: Any) -> None:
        with self._changed:
            self._all.add(connection_or_socket)

    @contextmanager
    def bounded(self, timeout_s: float) -> Iterator[threading.Event]:
        """Cut every connection `timeout_s` from now, unless the block has ended; the event is set by that.

        One request at a time. Raise NoThreadError.
        """
        late = threading.Event()
        with self._changed:
            self._late, self._due_s = late, time.monotonic() + timeout_s
            if self._thread is None:
                self._start()
            elif self._due_s < self._wakes_s:
                self._changed.notify()
        try:
            yield late
        finally:
            with self._changed:
                self._late = None

    def _watch(self, _: Pulse) -> None:
        with self._changed:
            while self._thread is threading.current_thread():
                now_s = time.monotonic()
                if self._late is None:
                    self._wakes_s = float("inf")
                elif now_s < self._due_s:
                    self._wakes_s = self._due_s
                else:
                    self._late.set()
                    self._cut()
                    # And again: a connection that was not made yet had no socket to cut.
                    self._wakes_s = now_s + CUT_AGAIN_S
                self._changed.wait(None if self._late is None else self._wakes_s - now_s)

    def close_gently(self) -> None:
        """Let the connections that are idle now be closed by FIN, which no receiver takes for a failure.

        The thread ends; another request would start a new one.
        """
        with self._changed:
            for sock in self._sockets():
                with suppress(OSError, TypeError):
                    socket.socket.setsockopt(sock, *CLOSE_GENTLY)
            thread, self._thread = self._thread, None
            self._wakes_s = float("inf")
            self._changed.notify()
        if thread:
            thread.join()

    def _cut(self) -> None:
        for sock in self._sockets():
            # SSLSocket.shutdown would take the TLS state from under the thread that reads; the plain one just
            # ends the read.
            with suppress(OSError, TypeError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _sockets(self) -> list[Any]:
        held = [getattr(each, "sock", each) for each in self._all]
        # TLS within TLS (an https proxy) keeps its socket inside.
        return [getattr(sock, "socket", sock) for sock in held]


class _Adapter(HTTPAdapter):
    """The adapter of requests, which is made to be extended: calls `opened` with each connection and socket."""

    def __init__(
        self, opened: Callable[[Any], None], place: Callable[[], tuple[str, int]] | None = None
    ) -> None:
        self._opened, self._place = opened, place
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _tell_opened(self.poolmanager, self._opened, self._place)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            _tell_opened(manager, self._opened, self._place)
        return manager


def _tell_opened(
    manager: Any, opened: Callable[[Any], None], place: Callable[[], tuple[str, int]] | None
) -> None:
    manager.pool_classes_by_scheme = {
        scheme: partial(_telling_pool, make_pool, opened, place)
        for scheme, make_pool in manager.pool_classes_by_scheme.items()
    }


def _telling_pool(
    make_pool: Callable[..., Any],
    opened: Callable[[Any], None],
    place: Callable[[], tuple[str, int]] | None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    pool = make_pool(*args, **kwargs)
    make_connection = pool.ConnectionCls

    def connection(*args: Any, **kwargs: Any) -> Any:
        made = make_connection(*args, **kwargs)
        made.response_class = Answer
        made.socket_options = [*(made.socket_options or []), CLOSE_AT_ONCE]
        connect = made.connect
        if place:
            # TLS goes on checking the certificate against the URL's host; no name is looked up.
            made._new_conn = lambda: create_connection(  # noqa: SLF001
                place(), made.timeout, socket_options=made.socket_options
            )

        def connect_and_tell() -> None:
            connect()
            opened(made.sock)

        # Both are needed: the connection has its socket before it has passed its proxy. It forgets the socket once
        # the headers of an answer without a length are read, though the body still comes from that socket.
        made.connect = connect_and_tell
        opened(made)
        return made

    pool.ConnectionCls = connection
    return pool
