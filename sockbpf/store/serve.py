# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store as a process: settings, user, database, server, end."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import ssl
from importlib import import_module
from typing import TYPE_CHECKING

import uvicorn

from sockbpf.counters import Counters
from sockbpf.errors import SockbpfError
from sockbpf.process import life, logs
from sockbpf.process.user import become, confine, user_of, users_before
from sockbpf.settings.store import names_of
from sockbpf.store.data.database import Database
from sockbpf.store.data.files import give_away, keep_private
from sockbpf.store.data.probe import probe
from sockbpf.store.listener import BACKLOG, listen
from sockbpf.store.preparing import Preparing
from sockbpf.store.web.app import OPEN_PATHS, make_app
from sockbpf.store.web.crowd import Crowd
from sockbpf.store.web.guard import Guard
from sockbpf.store.web.metrics import StoreMetrics
from sockbpf.store.web.page_files import page_routes
from sockbpf.store.web.patience import ImpatientProtocol, impatient
from sockbpf.store.web.reader import Reader
from sockbpf.store.web.running_store import RunningStore

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from sockbpf.settings.store import StoreSettings

log = logging.getLogger(__name__)

MOST_FILES = 16_384
STOP_S = 5
"""How long requests under way may take when the store is to end."""
ACCEPTED = 16
"""Connections accepted in each turn of the event loop: libuv accepts one of each socket that listens, so there are as
many of the same one. In a long turn thousands would come."""
COLLECTED_AFTER = (20_000, 20, 20)
"""When Python looks for garbage in circles. Alerts make none; by the defaults a fifth of the time is spent on it."""
PAGE_PATHS = tuple(route.path for route in page_routes())
IMPORTED_LATE = ("anyio._backends._asyncio", "uvicorn.loops.uvloop", "uvloop")
"""Modules that our libraries import only when they first need them."""


class _Server(uvicorn.Server):
    """Calls `before_end` first of all: uvicorn waits for the answers under way, and no stream ends by itself."""

    def __init__(self, config: uvicorn.Config, before_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._before_end = before_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._before_end()
        await super().shutdown(sockets)


class StoreError(SockbpfError):
    """The store cannot run here; the text says why."""


def serve(
    settings: StoreSettings,
    history_s: float,
    listener: socket.socket | None = None,
    when_confined: Callable[[], object] = tuple,
) -> int:
    """Serve until SIGTERM, return 0. Without a `listener`, a socket that listens, one is opened.

    The history of services is kept for `history_s` seconds.

    `when_confined` is called once root is given up, before anything that may take long. Raise SockbpfError if the
    store cannot run, as when its port is taken.
    """
    os.umask(0o077)  # files that are made, also by SQLite, are the store's user's alone
    if settings.listen is None:
        raise StoreError("no address to listen on: store > listen is empty in the configuration")
    is_alone, listens_at = listener is None, settings.listen
    listener = listener or _listener(settings)
    context = _tls(settings)
    # All modules are imported and all files are read before root is given up: the code may lie in root's own folder.
    database = Database(settings.database, settings.sqlite_path, settings.max_size)
    for late in IMPORTED_LATE:
        import_module(late)
    crowd = Crowd(_allow_files())
    counters = Counters()
    store = RunningStore(database, crowd, keep_s=settings.keep, history_s=history_s)

    def prepare() -> None:
        database.prepare(probe)
        store.warm()

    def ready() -> None:
        store.start()
        log.info("the store listens: %s://%s:%d", "https" if context else "http", *listens_at)

    def end(*_: object) -> None:
        server.should_exit = True

    preparing = Preparing(prepare, ready, end, store.stop)
    routes = make_app(store, StoreMetrics(store, counters, logs.dropped), preparing.running)
    app = _guarded(settings, preparing.before(routes, [*PAGE_PATHS, "/metrics"]))
    server = _Server(_server_config(app, impatient(settings.patience, crowd, context)), store.end_streams)
    _become(settings)
    gc.freeze()  # modules stay: a collection that looked at them would hold an answer up for 40 ms
    gc.set_threshold(*COLLECTED_AFTER)
    if is_alone and len(os.sched_getaffinity(0)) > 1:
        store.reader = _reader()
    when_confined()
    life.begin(counters, (log.critical,))
    # For a SIGTERM before uvicorn has its own handler, and for the one that uvicorn raises again when it has ended.
    signal.signal(signal.SIGTERM, end)
    server.run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTED - 1))])
    crowd.close()
    if preparing.fault:
        raise preparing.fault
    log.info("the store has ended")
    return 0


def _reader() -> Reader | None:
    try:
        return Reader()
    except OSError as error:
        log.warning("the store reads batches itself, it cannot start a process for that: %s", error)
        return None


def _server_config(app: ASGIApp, protocol: type[ImpatientProtocol]) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="error",  # uvicorn's warnings are about malformed requests: any client could fill the log
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_S,
        backlog=BACKLOG,
    )
    config.load()
    return config


def _guarded(settings: StoreSettings, app: ASGIApp) -> ASGIApp:
    assert settings.listen  # noqa: S101  checked by serve
    return Guard(
        app,
        token=settings.token,
        max_body=settings.max_body,
        body_s=settings.patience,
        hosts=names_of(settings.listen),
        open_paths=(*OPEN_PATHS, *PAGE_PATHS),
    )


def _listener(settings: StoreSettings) -> socket.socket:
    assert settings.listen  # noqa: S101  checked by serve
    try:
        return listen(settings.listen, settings.patience)
    except OSError as error:
        raise StoreError(f"store > listen: {':'.join(map(str, settings.listen))}: {error.strerror}") from None


def _tls(settings: StoreSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
    except ssl.SSLError:
        raise StoreError("store > tls_cert: expected a certificate and, in tls_key, its key, PEM") from None
    except OSError as error:
        raise StoreError(f"store > tls_cert or tls_key cannot be read: {error.strerror}") from None
    return context


def _become(settings: StoreSettings) -> None:
    """Do what only root may do, then give up root for good."""
    path = settings.sqlite_path
    if os.geteuid() == 0:
        user = user_of(settings.user)
        if path:
            give_away(path, user, users_before(user))
        if user.pw_uid != 0:
            become(user)
    confine()
    if path:
        keep_private(path)


def _allow_files() -> int:
    """Allow as many open files as the connections need, refused ones included; return how many are allowed."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
