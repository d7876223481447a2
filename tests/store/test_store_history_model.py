# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history is what was told, by a plain list of all samples: in any order, twice, late, joined, and forgotten.

Rows are written, joined and deleted as the store's threads do it, one by one, without HTTP.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.engine import Engine

from sockbpf.record.history import TYPES, Sample, Samples, Series, same_step
from sockbpf.store.data import history_rows
from sockbpf.store.data.clickhouse_history import HOURS, OLDER, delete_older_history, history, insert_samples
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.history import Asked, in_steps, window_of
from sockbpf.store.data.history_cells import whole
from sockbpf.store.data.history_find import find_history, samples_between
from sockbpf.store.data.history_tables import CELLS, HISTORY
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.search import AlteredError
from tests.store.servers import RATHER_BY_INDEX
from tests.store.serving import engine_url

BEGIN_S = 1_795_305_600
"""A midnight."""
DAYS_S = 2 * 86_400
OLDER_ORDER = "(host, service, protocol, type, hour)"
EVER = (0, 2**32 - 10)
Model = dict[Series, Samples]


@pytest.fixture
def engine(database: str) -> Any:
    made = open_engine(engine_url(database), connections=1)
    migrate(made)
    yield made
    made.dispose()


def told(chance: random.Random) -> Model:
    """Return what one request tells: some samples of some series, near each other or not."""
    made: Model = {}
    for _ in range(chance.randrange(1, 4)):
        series = Series(
            f"h{chance.randrange(2)}",
            f"s{chance.randrange(3)}",
            chance.choice(("tcp", "udp")),
            chance.choice(TYPES),
        )
        begin_s = BEGIN_S + chance.randrange(DAYS_S) // 10 * 10
        made[series] = {
            begin_s + 10 * step: Sample(*(chance.randrange(most) for most in (10**6, 100, 9, 3)))
            for step in range(chance.randrange(1, 60))
        }
    return made


def keep(connection: Any, samples: Model) -> None:
    (insert_samples if is_clickhouse(connection) else history_rows.keep)(connection, samples)


def add(model: Model, more: Model) -> None:
    for series, samples in more.items():
        known = model.setdefault(series, {})
        for at_s, sample in samples.items():
            known[at_s] = same_step(known[at_s], sample) if at_s in known else sample


def check(connection: Any, model: Model, chance: random.Random) -> None:
    """Compare all samples, and the answers of some windows, with the model."""
    for series, samples in model.items():
        assert samples_between(connection, series, *EVER) == dict(sorted(samples.items()))
    windows = [window_of(BEGIN_S, BEGIN_S + DAYS_S)]
    for _ in range(9):
        from_s = BEGIN_S + chance.randrange(-3600, DAYS_S)
        windows.append(window_of(from_s, from_s + chance.choice((60, 600, 7200, 40_000, 200_000))))
    for window in windows:
        host = chance.choice(("", "h1"))
        answer = find_history(connection, Asked(window, 20, 100, host))
        begin_s, end_s = window.hours
        wanted = {
            series: whole(within)
            for series, samples in model.items()
            if host in {"", series.host}
            and (within := [each for at_s, each in samples.items() if begin_s <= at_s < end_s])
        }
        assert {
            Series(*(each[name] for name in Series._fields)): Sample(*(each[name] for name in Sample._fields))
            for each in answer["services"]
        } == wanted
        for each in answer["series"]:
            steps = in_steps(model[Series(*(each[name] for name in Series._fields))], window)
            for place, name in enumerate(Sample._fields):
                assert each[name] == [step and step[place] for step in steps]


@pytest.mark.parametrize("seed", range(2))
def test_it_is_what_was_told(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    model: Model = {}
    for _ in range(25):
        more = told(chance)
        add(model, more)
        for _ in range(chance.choice((1, 2))):
            with engine.begin() as connection:
                keep(connection, more)
        with engine.begin() as connection:
            now_s = BEGIN_S + chance.randrange(DAYS_S)
            while not is_clickhouse(connection) and history_rows.join_some(connection, now_s):
                pass
    with engine.begin() as connection:
        check(connection, model, chance)
        before_s = BEGIN_S + 43_200
        if is_clickhouse(connection):
            delete_older_history(connection, before_s)
        else:
            while history_rows.forget(connection, before_s):
                pass
    left = {
        series: kept
        for series, samples in model.items()
        if (kept := {at_s: sample for at_s, sample in samples.items() if at_s >= before_s})
    }
    with engine.begin() as connection:
        for _ in range(2):
            check(connection, left, chance)
            if not is_clickhouse(connection):
                assert connection.execute(select(func.min(HISTORY.c.begin))).scalar_one() >= before_s
                while history_rows.join_some(connection, BEGIN_S + 2 * DAYS_S):
                    pass
                cells = set(connection.execute(select(HISTORY.c.cell).distinct()).scalars())
                assert cells == {CELLS[-1]}


def test_sums_of_an_earlier_store_are_taken_over(database_of: Callable[[str], str]) -> None:
    chance, model = random.Random(5), Model()
    engine = open_engine(engine_url(database_of("clickhouse")), connections=1)
    migrate(engine)
    with engine.begin() as connection:
        _, *made = history()
        for statement in made:
            older = statement.replace(HOURS, OLDER).replace(
                "(host, hour, service, protocol, type)", OLDER_ORDER
            )
            connection.exec_driver_sql(older)
        for name in (f"{HOURS}_of", HOURS):
            connection.exec_driver_sql(f"drop table {name}")
    for _ in range(3):
        with engine.begin() as connection:
            for more in (told(chance), told(chance)):
                keep(connection, more)
                add(model, more)
        migrate(engine)
    with engine.begin() as connection:
        check(connection, model, chance)
        kept = set(connection.exec_driver_sql("show tables like 'history%'").scalars())
        assert kept == {"history_samples", HOURS, f"{HOURS}_of"}
        connection.exec_driver_sql(f"system stop merges {HOURS}")
        for at_s in (BEGIN_S, BEGIN_S + 10, BEGIN_S):
            more = {series: {at_s: Sample(7, 7, 7, 7)} for series in model}
            keep(connection, more)
            add(model, more)
        check(connection, model, chance)
    engine.dispose()


@pytest.mark.not_clickhouse
def test_an_altered_row_is_never_shown_and_what_comes_takes_its_place(engine: Engine) -> None:
    series = Series("web1", "nginx.service", "tcp", "SEND")
    first, second = {BEGIN_S: Sample(1, 2, 3, 4)}, {BEGIN_S + 10: Sample(5, 6, 7, 8)}
    for column, value in (("size", 7), ("samples", b"x"), ("hours", "[]"), ("digest", b"12345678")):
        with engine.begin() as connection:
            history_rows.keep(connection, {series: first})
            connection.execute(update(HISTORY).values({column: value}))
            with pytest.raises(AlteredError) as altered:
                samples_between(connection, series, *EVER)
            assert altered.value.table is HISTORY
            assert connection.execute(select(HISTORY).where(altered.value.which)).all()
            history_rows.keep(connection, {series: second})
            assert samples_between(connection, series, *EVER) == second
            connection.execute(HISTORY.delete())


@pytest.mark.not_clickhouse
def test_it_goes_by_indexes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement of an answer, or of upkeep, walks through the whole table."""
    seen: list[str] = []
    with engine.begin() as connection:
        one = {BEGIN_S: Sample(1, 1, 1, 1)}
        keep(connection, {Series(f"web{n % 20}", f"s{n}", "tcp", "RECV"): one for n in range(1000)})
        is_sqlite = connection.dialect.name == "sqlite"
        if connection.dialect.name in RATHER_BY_INDEX:
            connection.execute(text(RATHER_BY_INDEX[connection.dialect.name]))
        execute = connection.execute

        def explained(statement: Any, *arguments: Any) -> Any:
            if statement.is_select and HISTORY in statement.get_final_froms():
                compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})
                explain = "explain query plan" if is_sqlite else "explain"
                seen.append(" ".join(str(row) for row in connection.exec_driver_sql(f"{explain} {compiled}")))
            return execute(statement, *arguments)

        monkeypatch.setattr(connection, "execute", explained)
        for window in (window_of(BEGIN_S, BEGIN_S + 600), window_of(BEGIN_S - 7 * 86_400, BEGIN_S + 100)):
            find_history(connection, Asked(window, 5, 5, "web1"))
        history_rows.join_some(connection, time.time() + DAYS_S)
        history_rows.forget(connection, BEGIN_S)
    assert len(seen) > 8
    for plan in seen:
        assert "SCAN history" not in plan.replace("SCAN history USING COVERING INDEX", ""), plan
        assert "Seq Scan" not in plan, plan
        assert "'ALL'" not in plan, plan
        assert "Using temporary" not in plan or "Using index;" in plan, plan
