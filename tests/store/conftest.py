# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The fixtures of the store's tier: real processes, real databases, real clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import trustme

from tests.live.turns import today
from tests.store.altering import empty
from tests.store.both import folder, start_both
from tests.store.browsing import browser, open_page
from tests.store.guarded import authority, locked, plain, trusted
from tests.store.servers import clickhouse, mysql, new_database, postgresql
from tests.store.serving import TOKEN, Store, start_store

__all__ = ["authority", "browser", "folder", "locked", "open_page", "plain", "start_both", "trusted"]

KINDS = ("sqlite", "postgresql", "mysql", "clickhouse")
SERVERS = KINDS[1:]
"""Of these a test is done with one today, with the other tomorrow."""
StartStore = Callable[..., Store]
"""`start(database=…, **settings)`, the fixture."""


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[str]:
    with mysql() as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse_server() -> Iterator[str]:
    with clickhouse() as server:
        yield server


@pytest.fixture
def database_of(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return what makes a new database of a kind and gives its URL."""

    def made(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / 'alerts.sqlite'}"
        return new_database(request.getfixturevalue(f"{kind}_server"))

    return made


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Return each kind of database: SQLite, and of the servers the one whose turn it is.

    A test that is `not_clickhouse` or `not_mysql` is done with the others.
    """
    kind: str = request.param
    servers = [each for each in SERVERS if not request.node.get_closest_marker(f"not_{each}")]
    if kind in SERVERS:
        only_for_today(request, kind, servers)
    return kind


def only_for_today(request: pytest.FixtureRequest, kind: str, servers: Sequence[str]) -> None:
    """Skip a test unless today, or with `--every-choice`, it is done with this one of the servers."""
    if kind not in servers:
        pytest.skip(f"not with {kind}")
    turn = servers[(crc32(request.function.__name__.encode()) + today()) % len(servers)]
    if kind != turn and not request.config.getoption("--every-choice"):
        pytest.skip(f"today it is done with {turn}")


@pytest.fixture(params=["postgresql", "mysql"])
def shared(request: pytest.FixtureRequest, database_of: Callable[[str], str]) -> str:
    """Make a new database of several stores that take turns in it, of one of the two servers each day."""
    only_for_today(request, request.param, ("postgresql", "mysql"))
    return database_of(request.param)


@pytest.fixture
def database(database_kind: str, database_of: Callable[[str], str]) -> str:
    """Make a new database, of each kind."""
    return database_of(database_kind)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartStore]:
    """Start stores; all are stopped at the end, and their logs shown if the test failed."""
    running: list[Store] = []

    def begin(database: str, **settings: Any) -> Store:
        store = start_store(tmp_path / f"store{len(running)}", database, **settings)
        running.append(store)
        return store

    yield begin
    for store in running:
        store.stop()
        print(f"--- log of the store ---\n{store.log()[-10000:]}")


@pytest.fixture
def one(start: StartStore, tmp_path: Path) -> Store:
    """Start one store, on SQLite."""
    return start(f"sqlite:///{tmp_path / 'alerts.sqlite'}")


@pytest.fixture
def store(start: StartStore, database: str) -> Store:
    """Start a store on each kind of database."""
    return start(database)


@pytest.fixture(scope="session")
def lasting(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Store]]:
    """Return what gives the one store on a kind of database, with a token or without, that many tests share."""
    running: dict[tuple[str, str], Store] = {}

    def of(kind: str, token: str = "") -> Store:
        if (kind, token) not in running:
            folder = tmp_path_factory.mktemp(kind)
            is_sqlite = kind == "sqlite"
            database = (
                f"sqlite:///{folder / 'alerts.sqlite'}"
                if is_sqlite
                else new_database(request.getfixturevalue(f"{kind}_server"))
            )
            running[kind, token] = start_store(folder / "store", database, token=token)
        return running[kind, token]

    yield of
    for store in running.values():
        store.stop()


def _emptied(store: Store) -> Iterator[Store]:
    empty(store)
    begin = len(store.log())
    yield store
    print(f"--- log of the store ---\n{store.log()[begin:][-10000:]}")


@pytest.fixture
def emptied(lasting: Callable[..., Store], database_kind: str) -> Iterator[Store]:
    """Empty a store that other tests have used, on each kind of database."""
    yield from _emptied(lasting(database_kind))


@pytest.fixture
def erasable(lasting: Callable[..., Store], database_kind: str) -> Iterator[Store]:
    """Empty a store with a token, which alone deletes what it is asked to."""
    yield from _emptied(lasting(database_kind, TOKEN))


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    """Return the settings of a store that speaks TLS, and as `trusted` the file of its authority."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    files = {name: str(tmp_path / f"{name}.pem") for name in ("tls_cert", "tls_key", "trusted")}
    leaf.cert_chain_pems[0].write_to_path(files["tls_cert"])
    leaf.private_key_pem.write_to_path(files["tls_key"])
    authority.cert_pem.write_to_path(files["trusted"])
    return files


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made
