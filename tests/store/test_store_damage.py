# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever bytes of the database are damaged: the store starts, keeps what comes, shows nothing that was altered.

`--store-damages` says how many databases are damaged.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.engine import open_engine
from tests.live.waiting import until
from tests.store.altering import first_edition
from tests.store.asking import pages
from tests.store.conftest import StartStore
from tests.store.damaging import ALERTS, NAME, POSTS, damage, everything, settled, write_all
from tests.store.serving import start_store, tell, told

SEED = 4_711
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where datname = :n and pid != pg_backend_pid()"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return folders with a database each: ended as it should, killed, and of the first edition."""
    made = {}
    for kind in ("ended", "killed", "first"):
        folder = tmp_path_factory.mktemp(kind)
        database = f"sqlite:///{folder}/kept/{NAME}"
        store = start_store(folder / "store", database)
        write_all(store)
        store.stop(signal.SIGKILL if kind == "killed" else signal.SIGTERM)
        if kind == "first":
            first_edition(database)
        made[kind] = folder / "kept"
    assert (made["killed"] / f"{NAME}-wal").stat().st_size > 100_000
    return made


@pytest.fixture
def known(whole: dict[str, Path], tmp_path: Path) -> dict[str, tuple[Counter[str], Counter[str]]]:
    """Return the entries and episodes of each whole database, as a store gives them."""
    found = {}
    for kind, folder in whole.items():
        copied = tmp_path / f"whole-{kind}"
        shutil.copytree(folder, copied / "kept")
        store = start_store(copied / "store", f"sqlite:///{copied}/kept/{NAME}")
        found[kind] = everything(store)
        assert (found[kind][0].total(), found[kind][1].total()) == (ALERTS + POSTS, ALERTS)
        assert store.stop() == 0
    return found


@dataclass
class Shown:
    """What stores show of damaged databases."""

    figures: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def judge(
        self,
        kind: str,
        how: str,
        found: tuple[Counter[str], Counter[str]],
        known: tuple[Counter[str], Counter[str]],
    ) -> None:
        """Compare what a store shows with what was in its database before the damage, and one fresh alert."""
        entries, episodes = found
        new = [each for each in entries if json.loads(each).get("host") == "fresh"]
        heard = [each for each in episodes if json.loads(each).get("host") == "fresh"]
        altered = [*(entries - known[0] - Counter(new)), *(episodes - known[1] - Counter(heard))]
        if kind == "first":  # its rows have no digest: what stands in one place alone cannot be checked
            self.figures["altered shown, of those without a digest"] += len(altered)
            altered = []
        if len(new) != 1 or len(heard) != 1 or altered:
            self.faults.append(f"{kind} {how}: {len(new)} new, altered: {altered}")
        self.figures["entries"] += ALERTS + POSTS
        self.figures["found"] += entries.total() - 1
        self.figures["episodes found"] += episodes.total() - 1
        self.figures["altered shown"] += len(altered)
        self.figures[f"of {kind}"] += 1


@pytest.mark.timeout(7200)
def test_no_damage_stops_it_or_is_shown(
    whole: dict[str, Path],
    known: dict[str, tuple[Counter[str], Counter[str]]],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    chance = random.Random(SEED)
    rounds = int(pytestconfig.getoption("--store-damages"))
    shown = Shown()
    for number in range(rounds):
        kind = chance.choice(list(whole))
        folder = tmp_path / f"damaged{number}"
        shutil.copytree(whole[kind], folder / "kept")
        how = f"{number} {damage(chance, folder / 'kept')}"
        store = start_store(folder / "store", f"sqlite:///{folder}/kept/{NAME}")  # and it is healthy
        try:
            fresh = told(10**6 + number, host="fresh")
            until(lambda: tell(store, **fresh).status_code == 200, "an alert is kept")  # noqa: B023
            assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 200
            everything(store)
            until(lambda: settled(store, folder / "kept"), lambda: f"{how}: {store.log()}")  # noqa: B023
            shown.judge(kind, how, everything(store), known[kind])
            if shown.faults:
                print(how, store.log())
            assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 200
            shown.figures["set aside"] += ".salvaged-" in "".join(os.listdir(folder / "kept"))
            shown.figures["rows deleted"] += "are not as they were written" in store.log()
            assert store.stop() == 0, store.log()
            assert "Traceback" not in store.log(), store.log()
        finally:
            store.stop(signal.SIGKILL)
        if not shown.faults:
            shutil.rmtree(folder)
    print(f"{rounds} damaged databases, all started and kept an alert: {dict(shown.figures)}")
    assert not shown.faults, f"{len(shown.faults)}: " + "\n".join(shown.faults[:5])


def spoil(database: Path, statement: str) -> None:
    """Damage a database that a store has open, as whoever may write into its files."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("pragma writable_schema = on")
        connection.execute(statement)


@pytest.mark.parametrize("found_by", ["writing", "reading"])
def test_damage_while_it_runs_is_set_aside_at_once(start: StartStore, tmp_path: Path, found_by: str) -> None:
    kept = tmp_path / "kept" / NAME
    store = start(f"sqlite:///{kept}")
    write_all(store)
    engine = open_engine(f"sqlite:///{kept}", connections=1)
    with engine.begin() as connection:
        root = connection.execute(
            text("select rootpage from sqlite_master where name = :n"),
            {"n": "entry_at" if found_by == "reading" else "sqlite_autoindex_entry_1"},
        ).scalar_one()
    with engine.connect() as connection:
        connection.connection.driver_connection.execute("pragma wal_checkpoint(truncate)")  # type: ignore[union-attr]
    engine.dispose()
    with kept.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    # What is in the caches of its connections goes when somebody else has written.
    with closing(sqlite3.connect(kept, isolation_level=None)) as other:
        other.execute("insert into pair (n, at, name, value) values (0, 0, 'a', 'b')")
    if found_by == "reading":
        until(lambda: requests.get(f"{store.url}/store.json", timeout=30).ok, "it is read again")
    answer = tell(store, **told(10**6))
    assert answer.json() == {"new": True}, "on this very request"
    assert requests.get(f"{store.url}/healthz", timeout=30).json() == {"status": "ok"}
    until(lambda: settled(store, kept.parent), "what can be salvaged is copied")
    until(lambda: sum(map(len, pages(store))) == ALERTS + POSTS + 1, store.log)
    assert max(file.name.partition(".sqlite")[2][:10] for file in kept.parent.iterdir()) == ".salvaged-"
    assert "sockbpf_store_set_aside_total 1.0" in requests.get(f"{store.url}/metrics", timeout=9).text
    assert "Traceback" not in store.log()


@pytest.mark.not_clickhouse
def test_a_row_that_was_altered_is_not_shown(
    start: StartStore, database_of: Callable[[str], str], database: str
) -> None:
    store = start(database)
    for number in range(5):
        assert tell(store, **told(number)).ok
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.begin() as connection:
        connection.execute(text("update entry set body = replace(body, '1048579', '9048579')"))
        connection.execute(text("update episode set peak = 9 where id = '0000000000000003'"))
    engine.dispose()
    entries, episodes = everything(store)
    assert (len(entries), len(episodes)) == (4, 5), "the episode is made again of its alerts"
    assert {json.loads(each)["peak"] for each in episodes} == {
        int(told(number)["peak"]) for number in range(5)
    }
    assert "9048579" not in "".join(entries)
    assert "rows of entry are not as they were written" in store.log()
    assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 200
    metrics = requests.get(f"{store.url}/metrics", timeout=9).text
    assert "sockbpf_store_altered_total 2.0" in metrics


def test_a_row_of_other_kinds_is_not_shown_either(start: StartStore, tmp_path: Path) -> None:
    """As where a byte is altered that says what kind of value follows; also of the first edition, without sums."""
    database = f"sqlite:///{tmp_path}/{NAME}"
    spoiled = (
        "at = x'00'",
        "at = 'x'",
        "key = 'text'",
        "body = 5",
        "digest = 'text'",
        "host = 7",
        "size = 1.5",
    )
    episodes = (
        "start = x'00'",
        "peak = 'x'",
        "last = x'11'",
        "size = 'many'",
        "protocol = x'00'",
        "digest = 1",
    )
    first = start(database)
    for number in range(len(spoiled) + 2):
        assert tell(first, **told(number)).ok
    assert first.stop() == 0
    for edition in (2, 1):
        if edition == 1:
            first_edition(database)
        with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
            for number, change in enumerate(spoiled if edition == 2 else ()):
                connection.execute(f"update entry set {change} where id = ?", [told(number)["id"]])
            for number, change in enumerate(episodes if edition == 2 else episodes[:-1]):
                connection.execute(
                    f"update episode set {change} where id = ?", [told(number + edition - 1)["id"]]
                )
        store = start(database)
        entries, _ = everything(store)
        assert {json.loads(each)["id"] for each in entries} <= {told(number)["id"] for number in (7, 8)}
        for sort in ("start", "peak", "last", "size"):
            answer = requests.get(f"{store.url}/episodes?sort={sort}", timeout=30)
            assert answer.status_code == 200
            assert {each["id"] for each in answer.json()} >= {told(8)["id"]}
        assert tell(store, **told(100 + edition)).json() == {"new": True}
        assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 200
        assert "Traceback" not in store.log()
        assert store.stop() == 0
        with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
            connection.execute("delete from entry where id in (?, ?)", [told(101)["id"], told(102)["id"]])


def test_postgresql_that_cannot_write_is_said(start: StartStore, database_of: Callable[[str], str]) -> None:
    database = database_of("postgresql")
    store = start(database)
    assert tell(store, **told(1)).ok
    engine = open_engine(Settings(database=database).database, connections=1)
    name = database.rpartition("/")[2]

    def health() -> tuple[int, str]:
        answer = requests.get(f"{store.url}/healthz", timeout=30)
        return answer.status_code, str(answer.json().get("detail", ""))

    breaks = {
        f'alter database "{name}" set default_transaction_read_only = on': "the database is read-only; since 20",
        "alter table entry rename to entry_gone": "SQLSTATE 42P01; since 20",
    }
    mends = (
        f'alter database "{name}" set default_transaction_read_only = off',
        "alter table entry_gone rename to entry",
    )
    for (broken, said), mended in zip(breaks.items(), mends, strict=True):
        for statement, status in ((broken, 503), (mended, 200)):
            with engine.begin() as connection:
                connection.execute(text("set transaction read write"))
                connection.execute(text(statement))
                connection.execute(
                    text(CUT),
                    {"n": name},
                )
            word = said if status == 503 else ""

            def says(status: int = status, word: str = word) -> bool:
                """Whether it says so: at first it may say of connections that they were cut."""
                found = health()
                return found[0] == status and word in found[1]

            until(says, lambda: f"{statement}: {health()}")  # noqa: B023
            assert tell(store, **told(2)).status_code == status
    engine.dispose()
    assert "Traceback" not in store.log()
