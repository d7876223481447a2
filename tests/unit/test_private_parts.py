# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What we hold on to inside of other libraries is still there.

requests has no bound on a whole exchange, and uvicorn none on a silent connection. Two modules add these by way of
parts that no document promises: `delivery/destinations/deadline.py` and `store/web/patience.py`. A new version of
urllib3 or uvicorn that moves one of them is seen here, by its name, before it is seen as a worker that hangs.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from sockbpf.store.web import patience


def taken_over() -> set[str]:
    """Return the methods of ours that call uvicorn's by the same name."""
    tree = ast.parse(Path(inspect.getfile(patience)).read_text())
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "super"
    }


def test_uvicorn_still_calls_what_is_taken_over() -> None:
    names = taken_over()
    assert {"connection_made", "data_received", "_start_asgi_task", "on_response_complete"} <= names
    theirs = Path(inspect.getfile(httptools_impl)).read_text()
    for name in names:
        assert hasattr(httptools_impl.HttpToolsProtocol, name), name
    for name in ("_start_asgi_task", "send_400_response", "on_response_complete"):
        assert f".{name}(" in theirs or f".{name}\n" in theirs or f"{name}," in theirs, name


def test_uvicorns_protocol_and_cycle_have_what_is_read() -> None:
    async def made() -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None: ...

        config = Config(app, interface="asgi3", lifespan="off")
        config.load()
        return httptools_impl.HttpToolsProtocol(config, ServerState(), {})

    protocol = asyncio.run(made())
    for name in (
        "timeout_keep_alive_task",
        "pipeline",
        "cycle",
        "scope",
        "client",
        "server",
        "loop",
        "transport",
    ):
        assert hasattr(protocol, name), name
    cycle = inspect.getsource(httptools_impl.RequestResponseCycle.__init__)
    for name in ("disconnected", "message_event", "response_complete"):
        assert f"self.{name}" in cycle, name


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_urllib3_still_makes_connections_by_what_is_replaced(scheme: str) -> None:
    """A pool of the manager's own classes takes its connections from `ConnectionCls`, and these `_new_conn`."""
    with requests.Session() as session:
        adapter = session.get_adapter(f"{scheme}://")
        manager = adapter.poolmanager  # type: ignore[attr-defined]
        assert set(manager.pool_classes_by_scheme) == {"http", "https"}
    with urllib3.PoolManager() as plain:
        pool = plain.pool_classes_by_scheme[scheme]("127.0.0.1", 9)
        seen = []

        def connection(*args: Any, **kwargs: Any) -> Any:
            made = type(pool).ConnectionCls(*args, **kwargs)
            made._new_conn = lambda: seen.append("_new_conn") or refuse()  # type: ignore[func-returns-value]
            for name in ("response_class", "socket_options", "timeout", "connect"):
                assert hasattr(made, name), name
            return made

        pool.ConnectionCls = connection
        with pytest.raises(urllib3.exceptions.ProtocolError):
            pool.urlopen("GET", "/", retries=False)
        assert seen == ["_new_conn"]


def refuse() -> None:
    raise ConnectionRefusedError
