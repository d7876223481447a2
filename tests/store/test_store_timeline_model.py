# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The timeline's sums are those of a plain look at every alert: in any order, twice, late, from two stores, deleted.

The sums are kept in the transactions that write and delete; here these are done one by one, without HTTP.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update
from sqlalchemy.engine import Engine

from sockbpf.store.data import timeline_fill, timeline_read
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.partitions import drop_partitions, make_partitions
from sockbpf.store.data.retention import BY_ARRIVAL, BY_THEIR_OWN_TIME, _slice
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY, EPISODE
from sockbpf.store.data.tally import Tally
from sockbpf.store.data.timeline_fill import fill_some
from sockbpf.store.data.timeline_rows import Coverage, add_entry, restart
from sockbpf.store.data.timeline_tables import SERIES, STATE, TIMELINE
from sockbpf.store.web.timeline import query_of
from tests.store.servers import RATHER_BY_INDEX
from tests.store.serving import engine_url, told
from tests.store.timeline_model import differences

pytestmark = pytest.mark.not_clickhouse  # which keeps no sums
BEGIN_S = 1_795_305_600
"""A midnight."""
DAY_S = 86_400
HOSTS, OWNERS = ("web1", "web2"), ("nginx", "postgres", "")
WINDOWS = ((0, 900), (7200, 7200 + 3600), (-3600, DAY_S), (DAY_S - 100, DAY_S + 800), (-DAY_S, 3 * DAY_S))


@st.composite
def alerts(draw: st.DrawFn) -> dict[str, str]:
    episode = draw(st.integers(0, 6))
    at_s = draw(st.sampled_from((5, 10, 61, 130, 7_300, 21_600, 50_000, DAY_S, 2 * DAY_S + 5))) + draw(
        st.sampled_from((0.0, 0.25, 3.5))
    )
    duration_s = draw(st.sampled_from((0, 1.5, 10, 600, 30_000, 200_000, 40 * DAY_S)))
    event = draw(st.sampled_from(("exceeded", "ongoing", "cleared")))
    size = draw(st.sampled_from((512, 4096, 70_000)))
    alert = told(
        draw(st.integers(1, 40)),
        id=f"e{episode}",
        host=HOSTS[episode % 2],
        comm=OWNERS[episode % 3],
        type=("RECV", "SEND")[episode % 2],
        event=event,
        timestamp=f"{BEGIN_S + at_s:.6f}",
        duration=f"{duration_s:.6f}",
        size=size,
        threshold=1024,
        fill=draw(st.sampled_from((3, 57, 99))),
    )
    if not alert["comm"]:
        del alert["comm"]
    return alert


WRITES = st.tuples(st.just("write"), st.lists(alerts(), min_size=5, max_size=25), st.integers(0, 3))
DELETES = st.tuples(
    st.sampled_from(("old", "arrived")), st.sampled_from((60, 7_200, DAY_S, 3 * DAY_S)), st.just(0)
)
OTHERS = st.tuples(st.sampled_from(("restart", "fill")), st.just(0), st.just(0))
HISTORIES = st.lists(WRITES, min_size=1, max_size=2).flatmap(
    lambda first: st.lists(st.one_of(WRITES, DELETES, OTHERS), min_size=1, max_size=5).map(
        lambda rest: first + rest
    )
)


def do(connection: Any, what: str, argument: Any, arrival: int) -> None:
    """Do one thing as a store does it."""
    now_s = 1_000_000_000.0 + arrival
    if what == "write":
        write(connection, [alert_entry(alert) for alert in argument], now_s)
    elif what == "old":
        drop_partitions(connection, BEGIN_S + argument, ENTRY.c.at)
        _slice(connection, BEGIN_S + argument, BY_THEIR_OWN_TIME)
    elif what == "arrived":
        _slice(connection, 1_000_000_002.0, BY_ARRIVAL)
    elif what == "restart":
        restart(connection)
    elif what == "fill":
        fill_some(connection)
    elif what == "alter":
        connection.execute(update(EPISODE).where(EPISODE.c.id == "e1").values(start=EPISODE.c.start - 5))


def of_tables(connection: Any) -> Tally:
    """Return the sums of all that the tables hold."""
    tally = Tally()
    for row in connection.execute(select(ENTRY).where(ENTRY.c.key.is_not(None))).mappings():
        add_entry(tally, row)
    for row in connection.execute(select(EPISODE)).mappings():
        tally.episode(row)
    return tally


def check(connection: Any) -> None:
    """Compare the sums with the tables, and the answers with the model."""
    while not fill_some(connection):
        pass
    assert Coverage(connection).is_whole
    wanted = {key: sums[:8] for key, sums in of_tables(connection).rows()[0].items() if any(sums[:8])}
    kept = {tuple(row[:4]): list(row[4:12]) for row in connection.execute(select(TIMELINE))}
    assert kept == wanted
    bodies = [json.loads(body) for body in connection.execute(select(ENTRY.c.body)).scalars()]
    episodes = [dict(row) for row in connection.execute(select(EPISODE)).mappings()]
    for begin_s, end_s in WINDOWS:
        for host in ("", *HOSTS):
            pairs = [
                ("from", str(BEGIN_S + begin_s)),
                ("to", str(BEGIN_S + end_s)),
                ("top", "2"),
                ("buckets", "24"),
            ]
            asked = [*pairs, *([("host", host)] if host else [])]
            answer = query_of(asked, 0.0)(connection).shown()
            assert not answer["partial"]
            of_host = [
                [row for row in rows if not host or row["host"] == host] for rows in (bodies, episodes)
            ]
            assert not differences(answer, *of_host, exact_worst=False), (begin_s, end_s, host)
            # The same by the rows themselves: a filter by which no sums are kept.
            of_rows = query_of([*asked, ("port", "8443")], 0.0)(connection).shown()
            assert not differences(of_rows, *of_host)


@pytest.fixture
def engine(database: str) -> Any:
    made = open_engine(engine_url(database), connections=1)
    migrate(made)
    with made.begin() as connection:
        for day in range(-1, 3):
            make_partitions(connection, BEGIN_S + day * DAY_S)
    yield made
    made.dispose()


def test_the_sums_are_those_of_the_tables(
    engine: Engine, timeline_examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_fill, "AT_ONCE", 7)

    @settings(
        max_examples=timeline_examples,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # to find the shortest history takes minutes
        derandomize=timeline_examples < 100,
        suppress_health_check=list(HealthCheck),
    )
    @given(HISTORIES)
    def any_order(steps: list[tuple[str, Any, int]]) -> None:
        with engine.connect() as connection, connection.begin() as transaction:
            try:
                for step in steps:
                    do(connection, *step)
                check(connection)
            finally:
                transaction.rollback()

    any_order()


def test_an_altered_row_leaves_no_ghost(engine: Engine) -> None:
    """It is found when its episode goes on, or when it is deleted: all is counted anew."""
    for how in ("goes on", "deleted"):
        with engine.connect() as connection, connection.begin() as transaction:
            do(connection, "write", [told(1, id="e1", timestamp=f"{BEGIN_S + 5}", comm="nginx")], 0)
            do(connection, "alter", 0, 0)
            if how == "goes on":
                do(
                    connection,
                    "write",
                    [told(2, id="e1", timestamp=f"{BEGIN_S + 65}", event="ongoing", duration=60)],
                    1,
                )
            else:
                do(connection, "old", 7200, 0)
            check(connection)
            transaction.rollback()


def test_a_database_from_before_the_timeline_gets_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some rows at a time; meanwhile the newest rows are read, and of the time before them nothing is said."""
    monkeypatch.setattr(timeline_fill, "AT_ONCE", 100)
    monkeypatch.setattr(timeline_read, "MOST_READ", 200)
    with engine.begin() as connection:
        for arrival in range(5):
            sent = [
                alert_entry(told(number, timestamp=f"{BEGIN_S + number * 157}.5", id=f"e{number // 3}"))
                for number in range(arrival * 100, arrival * 100 + 100)
            ]
            write(connection, sent, float(arrival))
        for table in (TIMELINE, SERIES, STATE):
            table.drop(connection)
    migrate(engine)
    with engine.begin() as connection:
        assert not Coverage(connection).is_whole
        pairs = [("from", str(BEGIN_S)), ("to", str(BEGIN_S + DAY_S))]
        meanwhile = query_of(pairs, 0.0)(connection).shown()
        numbers = meanwhile["counts"]["RECV"]["exceeded"]
        assert meanwhile["partial"]
        assert (numbers[0], numbers[-9]) == (None, meanwhile["width"] // 157)
        fill_some(connection)
        assert not Coverage(connection).is_whole
        write(connection, [alert_entry(told(3000, timestamp=f"{BEGIN_S + 7}", host="web2"))], 0.5)
        write(connection, [alert_entry(told(3001, timestamp=f"{BEGIN_S + 7}", host="web2"))], 3.5)
        write(
            connection, [alert_entry(told(3002, timestamp=f"{BEGIN_S + 7}", host="web2"))], time.time() + 60
        )
        check(connection)
        whole = query_of(pairs, 0.0)(connection).shown()
        assert sum(whole["counts"]["RECV"]["exceeded"]) == 503


def test_an_answer_is_bounded(engine: Engine) -> None:
    """Of more than is read for one answer, the newest is told, and no number of the rest."""
    entries = 2303
    with engine.begin() as connection:
        sent = [
            told(
                number,
                timestamp=f"{BEGIN_S + number * 900 / entries:.6f}",
                id=f"e{number}",
                comm=f"c{number % 97}",
            )
            for number in range(entries)
        ]
        do(connection, "write", sent, 0)
        pairs = [("from", str(BEGIN_S)), ("to", str(BEGIN_S + 900))]
        whole = query_of([*pairs, ("top", "5")], 0.0)(connection).shown()
        assert not whole["partial"]
        assert sum(whole["counts"]["RECV"]["exceeded"]) == entries
        assert len(whole["services"]) == 5
        some = query_of([*pairs, ("port", "8443"), ("top", "50")], 0.0)(connection).shown()
        assert some["partial"]
        assert BEGIN_S < some["known_from"] < BEGIN_S + 900
        numbers = zip(
            some["times"],
            some["counts"]["RECV"]["exceeded"],
            whole["counts"]["RECV"]["exceeded"],
            strict=True,
        )
        for at_s, number, real in numbers:
            assert number == (real if at_s > some["known_from"] else None)


def test_it_goes_by_indexes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement of an answer walks through a whole table."""
    seen: list[str] = []
    with engine.begin() as connection:
        do(connection, "write", [told(number, timestamp=f"{BEGIN_S + number}.5") for number in range(50)], 0)
        is_sqlite = connection.dialect.name == "sqlite"
        if connection.dialect.name in RATHER_BY_INDEX:
            connection.execute(text(RATHER_BY_INDEX[connection.dialect.name]))
        execute = connection.execute

        def explained(statement: Any, *arguments: Any) -> Any:
            compiled = statement.compile(
                engine, compile_kwargs={"literal_binds": True, "render_postcompile": True}
            )
            explain = "explain query plan" if is_sqlite else "explain"
            seen.append(" ".join(str(row) for row in connection.exec_driver_sql(f"{explain} {compiled}")))
            return execute(statement, *arguments)

        monkeypatch.setattr(connection, "execute", explained)
        query_of([("from", str(BEGIN_S - 5000)), ("to", str(BEGIN_S + 900))], 0.0)(connection)
    plans = [plan for plan in seen if "timeline_state" not in plan]
    assert len(plans) > 4
    for plan in plans:
        assert "SCAN timeline" not in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "'ALL'" not in plan, plan


def test_names_of_nothing_go(engine: Engine) -> None:
    from sockbpf.store.data.timeline_rows import prune

    with engine.begin() as connection:
        do(connection, "write", [told(1, timestamp=f"{BEGIN_S + 5}", comm="nginx")], 0)
        do(connection, "write", [told(2, timestamp=f"{BEGIN_S + 500}", comm="postgres")], 0)
        do(connection, "old", 60, 0)
        prune(connection)
        assert set(connection.execute(select(SERIES.c.service)).scalars()) == {"", "postgres"}
        connection.execute(delete(ENTRY))
