# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What only MariaDB does: tables made by statements that commit, texts of 4 bytes a character, packets of a size."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pymysql
import pytest
import requests
import trustme
from sqlalchemy import event, inspect, select, text
from sqlalchemy.engine import Engine

from sockbpf.store.data import bulk, mysql, mysql_schema
from sockbpf.store.data.engine import SchemaError, open_engine
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.schema import PAIR
from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until
from tests.store.conftest import StartStore
from tests.store.servers import MySQL, make_mysql, new_database, start_mysql
from tests.store.serving import engine_url, find, post, tell, told

SEED = 20_271
PASSWORD = "hunter2-of-mariadb"


@pytest.fixture
def database(mysql_server: str) -> str:
    return new_database(mysql_server)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    made = open_engine(engine_url(database), connections=2)
    yield made
    made.dispose()


def made(engine: Engine) -> dict[str, tuple[set[str], set[str]]]:
    """Return the columns and the indexes of each table."""
    with engine.connect() as connection:
        found = inspect(connection)
        return {
            name: (
                {column["name"] for column in found.get_columns(name)},
                {str(index["name"]) for index in found.get_indexes(name)},
            )
            for name in found.get_table_names()
        }


def test_tables_whose_making_was_cut_short_are_made_to_the_end(engine: Engine) -> None:
    migrate(engine)
    whole = made(engine)
    with engine.begin() as connection:
        connection.execute(text("delete from store_edition"))
        for table in ("episode", "timeline_state", "store_turn"):
            connection.execute(text(f"drop table {table}"))
    migrate(engine)
    assert made(engine) == whole


def test_an_older_edition_gets_what_it_lacks_and_keeps_its_rows(
    start: StartStore, database: str, engine: Engine
) -> None:
    store = start(database)
    assert tell(store, **told(1)).ok
    store.stop()
    whole = made(engine)
    with engine.begin() as connection:
        connection.execute(text("drop index episode_container on episode"))
        connection.execute(text("alter table episode drop column container"))
        connection.execute(text("drop table store_turn"))
        connection.execute(text("update store_edition set edition = edition - 1"))
    again = start(database)
    assert made(engine) == whole
    assert tell(again, **told(2)).json() == {"new": True}
    assert sorted(alert["seq"] for alert in find(again)) == [1, 2]


def test_tables_of_another_program_are_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("create table host (n integer)"))
    with pytest.raises(SchemaError, match="a table host that is not the store's"):
        migrate(engine)
    assert made(engine).keys() == {"host"}


def test_several_stores_may_make_the_tables_at_the_same_time(database: str) -> None:
    engines = [open_engine(engine_url(database), connections=1) for _ in range(6)]
    with ThreadPoolExecutor(len(engines)) as threads:
        assert list(threads.map(migrate, engines)) == [None] * len(engines)
    with engines[0].connect() as connection:
        for table in ("store_edition", "store_turn", "timeline_state"):
            assert connection.execute(text(f"select count(*) from {table}")).scalar() == 1
    for engine in engines:
        engine.dispose()


def test_no_limit_holds_for_who_makes_the_tables(
    database: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another store makes them for longer than any answer may take, and than one question for the lock."""
    tries: list[str] = []

    def listen(*about: Any) -> None:
        tries.extend(each for each in about if "select get_lock" in str(each))

    with ThreadPoolExecutor(1) as thread, engine.connect() as holder:
        holder.execute(text("do get_lock(concat('sockbpf ', md5(database())), 1)"))
        monkeypatch.setattr(mysql_schema, "WAIT_S", 2)
        short = mysql.SESSION.replace("max_statement_time = 30", "max_statement_time = 1.5")
        monkeypatch.setattr(mysql, "SESSION", short)
        monkeypatch.setitem(mysql.PATIENCE, "read_timeout", 1.5)
        later = open_engine(engine_url(database), connections=1)
        event.listen(Engine, "before_cursor_execute", listen)
        making = thread.submit(migrate, later)
        try:
            until(lambda: making.done() or len(tries) > 1, "a second try")
        finally:
            event.remove(Engine, "before_cursor_execute", listen)
            holder.invalidate()  # with its session the lock ends
        making.result(DEADLINE_S)
    later.dispose()
    monkeypatch.undo()
    assert len(made(engine)) > 5


def test_every_number_and_text_is_read_as_it_was_written(engine: Engine) -> None:
    migrate(engine)
    dice = random.Random(SEED)
    numbers = [1_795_343_123.482913, 0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e15, 1e17]
    while len(numbers) < 2003:
        (number,) = struct.unpack("<d", dice.randbytes(8))
        numbers += [number] if isfinite(number) else []
    texts = [
        "",
        "a ",
        "a",
        "A",
        "'",
        '"',
        "\\",
        "\\'",
        "%s",
        "\n\t\x1a",
        "é\u0301",
        "\U0001f600" * 256,
        "\u017f",
        "ß",
    ]
    rows = [(n, at_s, texts[n % len(texts)], "x" * n) for n, at_s in enumerate(numbers)]
    rows = [(n, at_s, name, value[:256]) for n, at_s, name, value in rows]
    with engine.begin() as connection:
        bulk.insert(connection, PAIR, rows)
        read = connection.execute(select(PAIR).order_by(PAIR.c.n)).all()
        assert [tuple(row) for row in read] == rows
        for name in texts:
            found = connection.execute(select(PAIR.c.n).where(PAIR.c.name == name)).scalars()
            assert set(found) == {n for n, _, its, _ in rows if its == name}, name
        exact = select(PAIR.c.n).where(PAIR.c.at == numbers[7])
        assert connection.execute(exact).scalars().all() == [7]


def test_what_is_too_large_for_the_server_harms_nothing_else(
    start: StartStore, database: str, mysql_server: str
) -> None:
    store = start(database, max_body="40MiB")
    large = requests.post(f"{store.url}/store.json", data=json.dumps({"x": "'" * (9 * 2**20)}), timeout=60)
    assert large.status_code == 503
    with ThreadPoolExecutor(4) as pool:
        alerts = [pool.submit(tell, store, **told(number)) for number in range(50)]
        assert all(alert.result().ok for alert in alerts)
    post(store, {"x": "'" * (7 * 2**20)})
    assert len(find(store, event="exceeded", limit=1000)) == 50
    assert "larger than the database's max_allowed_packet" in store.log()
    assert "Traceback" not in store.log()
    assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 200


@pytest.fixture
def server(tls: dict[str, str]) -> Iterator[MySQL]:
    """Run a server that speaks TLS, with a database x and the user store, who has a password."""
    folder = Path(mkdtemp(prefix="sockbpf-mysql-"))
    make_mysql(folder)
    running = start_mysql(folder, free_port(), f"--ssl-cert={tls['tls_cert']}", f"--ssl-key={tls['tls_key']}")
    order(running, "create database x")
    order(running, f"create user store identified by '{PASSWORD}' require ssl")
    order(running, "grant all on x.* to store")
    yield running
    running.process.kill()
    running.process.wait()
    shutil.rmtree(folder)


def order(server: MySQL, statement: str) -> None:
    with pymysql.connect(host="127.0.0.1", port=server.port, user="sockbpf", database="mysql") as admin:
        admin.cursor().execute(statement)


def test_by_tls_and_password_and_what_goes_wrong_is_said(
    start: StartStore, server: MySQL, tls: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "url"
    url = f"mysql://store:{PASSWORD}@127.0.0.1:{server.port}/x"
    file.write_text(f"{url}?ssl_ca={tls['trusted']}")
    by_socket = f"mysql://sockbpf@localhost/x?unix_socket={server.folder}/socket"
    engine = open_engine(engine_url(by_socket), connections=1)
    migrate(engine)
    engine.dispose()
    store = start({"file": str(file)})
    assert tell(store, **told(1)).ok

    def health() -> tuple[int, str]:
        answer = requests.get(f"{store.url}/healthz", timeout=30)
        return answer.status_code, str(answer.json().get("detail", ""))

    for broken, mended, said in (
        (
            "rename table x.entry to x.gone",
            "rename table x.gone to x.entry",
            "a table of the database is missing",
        ),
        ("set global read_only = 1", "set global read_only = 0", "the database is read-only"),
        ("alter user store account lock", "alter user store account unlock", "code 4151"),
    ):
        order(server, broken)
        order(server, "kill user store")
        until(lambda: health()[0] == 503, lambda: f"{broken}: {health()}")  # noqa: B023
        until(lambda: health()[1].partition("; since 20")[0].endswith(said), lambda: f"{broken}: {health()}")  # noqa: B023
        assert tell(store, **told(2)).status_code == 503
        order(server, mended)
        until(lambda: health()[0] == 200, lambda: f"{mended}: {health()}")  # noqa: B023
    assert tell(store, **told(2)).json() == {"new": True}
    assert "Traceback" not in store.log()
    logs = store.log()
    authority = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    wrong = {
        f"{url.replace(PASSWORD, PASSWORD[1:])}?ssl_ca={tls['trusted']}": "the database refuses user or password",
        f"{url}?ssl_ca={authority}": "the database is busy or away",
        f"{url.replace('/x', '/y')}?ssl_ca={tls['trusted']}": "the database's user may not do this",
    }
    stores = [start(database, healthy=False) for database in wrong]
    for refused, said in zip(stores, wrong.values(), strict=True):
        assert refused.process.wait(DEADLINE_S) == 1
        assert f"store > database: {said}" in refused.log()
        assert "Traceback" not in refused.log()
        logs += refused.log()
    assert PASSWORD[1:] not in logs


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", True), ("10.11.2-MariaDB", True), ("11.8.3-MariaDB-0+deb13u1", True),
        ("5.5.5-10.6.22-MariaDB-log", False), ("5.5.5-5.5.68-MariaDB", False), ("8.0.36", False),
        ("8.4.3-MySQL Community Server", False),
    ],
)  # fmt: skip
def test_only_servers_that_were_tried_are_taken(said: str, is_taken: bool) -> None:
    assert mysql.is_taken(said) == is_taken
