# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A journal of the edition before is moved on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal
from tests.unit.journal_files import aside, edition1
from tests.unit.journals import body, owed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("name", ["journal", "journal.sqlite"])
def test_the_edition_before_is_moved_on(path: Path, name: str, *, killed: bool) -> None:
    edition1(path.with_name(name), range(1, 212), killed=killed)
    os.chmod(path.with_name(name), 0o640)
    for _ in range(2):
        journal = Journal(path)
        assert journal.owed() == [owed(n) for n in range(1, 212)]
        assert (journal.last_seq, journal.last_n, journal.set_aside) == (312, 412, 0)
        journal.close()
    assert {file.name for file in path.parent.iterdir()} == {"journal", "journal.lock"}


def test_rows_of_the_edition_before_that_are_no_alerts_are_set_aside_by_themselves(path: Path) -> None:
    edition1(path, range(1, 12))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("update owed set body = 'no JSON' where n = 3")
        connection.execute("update owed set body = cast(x'ff' as text) where n = 5")
        connection.execute("update owed set destination = cast(x'ff' as text) where n = 7")
    journal = Journal(path)
    assert journal.owed() == [owed(n) for n in range(1, 12) if n not in {3, 5, 7}]
    assert journal.set_aside == 3
    journal.close()


def test_a_damaged_one_of_the_edition_before_gives_what_can_be_read(path: Path) -> None:
    edition1(path, range(1, 212))
    data = bytearray(path.read_bytes())
    place = data.index(body(101).encode()) // 4096 * 4096
    data[place : place + 4096] = bytes(4096)
    path.write_bytes(data)
    journal = Journal(path)
    found = journal.owed()
    assert 150 < len(found) < 211
    assert found == [owed(one.n) for one in found]
    assert journal.set_aside >= 1
    journal.close()
    assert aside(path)
