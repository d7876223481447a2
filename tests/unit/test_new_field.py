# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A field that is added as CONTRIBUTING says comes out everywhere, and takes no more files than it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sockbpf.record.fields import columns
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import alert_entry, posted_entry
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import EDITION
from tests.unit.copies import changed, copied, not_named, replace_once, run
from tests.unit.field_docs import DOCUMENTS, rewritten

PLACE = len(columns()) + 1

EDITS = {
    "sockbpf/record/fields.py": (
        ')  # fmt: skip\n"""In the order of the request."""',
        f"""    Field(
        "fleet", TEXT, "the fleet that its owner is in, where that is known",
        lambda alert: alert.notice.fleet or None, folded=False, chosen=True, column={PLACE},
    ),
)  # fmt: skip
'''In the order of the request.'''""",
    ),
    "sockbpf/record/alert.py": ("    crossings: int = 0\n", '    fleet: str = ""\n    crossings: int = 0\n'),
    "sockbpf/judge/episodes.py": (
        "        comm=episode.comm,\n",
        '        comm=episode.comm,\n        fleet=f"{episode.comm}.service",\n',
    ),
}
"""File -> what stands in it, and what is to stand there."""

TOLD = {
    "timestamp": "1795343123.5", "event": "exceeded", "protocol": "tcp", "local_port": "443", "type": "RECV",
    "size": "2", "threshold": "1", "id": "0a", "seq": "7", "host": "web1",
}  # fmt: skip

PROGRAM = """
import json, sys
from urllib.parse import urlencode
import sockbpf
from sockbpf.counters import Counters
from sockbpf.delivery.destinations.alertmanager import alert_of as of_alertmanager
from sockbpf.delivery.destinations.json_lines import line_of
from sockbpf.delivery.destinations.syslog_message import rfc5424
from sockbpf.judge.episodes import Episode, Episodes
from sockbpf.judge.levels import Levels
from sockbpf.record.alert import Folded, alert_of, log_line
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.fields import parameters
from sockbpf.record.text import without_markup
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.episode_search import find_episodes
from sockbpf.store.data.search import find
from sockbpf.store.data.filters import parse
from sockbpf.store.data.probe import probe
from sockbpf.store.data.rows import write
from sockbpf.store.web.description import document

socket = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, 4026531840, 8191)
episodes = Episodes(Counters(), "salt", lambda inode: (4003, "nginx@everyone"))
episode = Episode(socket, Direction.RECV, Mode.EBPF, 1, 5, 7, 2003, 2003, 1009, Levels(1009, 504, 0, 10**9))
(notice,) = episodes.begin((1,), episode)
at = {"seq": 17, "host": "web1", "unix_offset_ns": 1795343123 * 10**9}
told = parameters(alert_of(notice, **at))
folded = parameters(alert_of(Folded(notice, 2, ((socket, 2003),)), **at))

engine = open_engine(f"sqlite:///{sys.argv[1]}", connections=1)
migrate(engine)
with engine.begin() as connection:
    probe(connection)
    write(connection, [alert_entry(told)])

    def found(**asked):
        return [json.loads(body)["id"] for *_, body in find(connection, parse(asked.items()))[0]]

    fleet = {"fleet": told["fleet"]}
    kept = {
        "all": found(),
        "by_fleet": found(**fleet),
        "older": found(fleet="older.service"),
        "episodes": [each["fleet"] for each in find_episodes(connection, parse(fleet.items(), episodes=True))],
    }
    columns = {table: [row[1] for row in connection.exec_driver_sql(f"pragma table_info({table})")]
               for table in ("entry", "episode")}
openapi = {path: [each["name"] for each in document()["paths"][path]["get"]["parameters"]]
           for path in ("/alert", "/store.json", "/episodes")}
print(json.dumps({
    "from": sockbpf.__file__, "told": told, "folded": folded, "query": urlencode(told), "line": line_of(told),
    "syslog": rfc5424(told, facility=1, pid=1, limit=2048).decode(), "log": log_line(told),
    "alertmanager": of_alertmanager(told)["annotations"], "chat": without_markup(told)["fleet"],
    "kept": kept, "columns": columns, "openapi": openapi,
}))
"""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_say_what_the_table_says(path: Path) -> None:
    assert path.read_text() == rewritten(path), "run: make fields"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the tree in which the field `fleet` was added."""
    tree = copied(tmp_path / "tree", ["sockbpf", "docs", "tests/unit"])
    for path, (old, new) in EDITS.items():
        replace_once(tree / path, old, new)
    run(tree, "-m", "tests.unit.field_docs")
    return tree


def test_a_field_takes_at_most_seven_files_and_all_are_named(copy: Path) -> None:
    files = changed(copy)
    assert files == {*EDITS, "docs/request.md", "docs/store.md", "docs/bigquery-schema.json"}
    assert len(files) + 1 <= 7, "one more for its test"
    assert not not_named(files, "To add a field of the alert")


def test_it_comes_out_everywhere(copy: Path, tmp_path: Path) -> None:
    database = tmp_path / "alerts.sqlite"
    engine = open_engine(f"sqlite:///{database}", connections=1)
    migrate(engine)
    with engine.begin() as connection:  # by this tree, which does not know the field
        older = {"id": "posted", "fleet": "older.service"}
        write(connection, [posted_entry(older, 1.5), alert_entry(TOLD), alert_entry(TOLD | older)])
    engine.dispose()
    out: dict[str, Any] = json.loads(run(copy, "-c", PROGRAM, str(database)))
    assert out["from"].startswith(str(copy))
    fleet = "nginx@everyone.service"
    assert out["told"]["fleet"] == fleet
    assert list(out["told"])[-3:] == ["pid", "comm", "fleet"]
    assert "fleet" not in out["folded"]
    assert out["query"].endswith("&fleet=nginx%40everyone.service")
    assert json.loads(out["line"])["fleet"] == fleet
    assert f' fleet="{fleet}"' in out["syslog"]
    assert out["log"].endswith(f" fleet={fleet}")
    assert out["alertmanager"]["fleet"] == fleet
    assert out["chat"] == "nginx\uff20everyone\uff0eservice"
    assert set(out["kept"].pop("all")) == {"posted", "0a", out["told"]["id"]}
    assert out["kept"] == {
        "by_fleet": [out["told"]["id"]], "older": ["posted", "posted"], "episodes": [fleet],
    }  # fmt: skip
    assert all(names[-1] == "fleet" for names in out["columns"].values())
    assert all("fleet" in names for names in out["openapi"].values())
    assert (
        "| `fleet` |  | the fleet that its owner is in, where that is known |"
        in (copy / "docs/request.md").read_text()
    )


def test_a_further_column_is_a_further_edition_of_the_tables(copy: Path) -> None:
    program = "from sockbpf.store.data import schema; print(schema.EDITION)"
    assert run(copy, "-c", program).split() == [str(EDITION + 1)]
