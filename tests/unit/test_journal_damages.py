# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Damaged at random, a journal opens, sends nothing that was altered, and holds every alert that is whole on disk.

`--journal-damages` says how many; the figures are printed with -s. What is whole is told by the bytes alone: the
text that was written for an alert stands somewhere in the damaged file.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed
from tests.unit.damages import DAMAGES, whole_text
from tests.unit.journals import EDITION1, body

SEED = 4799
OF_BEFORE = 10
"""One in so many is a database of the edition before."""


@dataclass
class Written:
    """A journal as it was written: its bytes, what it owes, and what it does not owe any more."""

    data: bytes
    owed: dict[int, Owed]
    settled: dict[int, Owed]
    last_seq: int


def alert(n: int, chance: random.Random) -> Owed:
    name = chance.choice(["http", "second", "slack"])
    text = body(
        n, host="a host", comm="x" * chance.randint(0, 16), worst="y" * chance.choice([0, 0, 0, 3000])
    )
    return Owed(n, name, f"{n:x}", 10.5 + n, text)


def write(path: Path, chance: random.Random) -> Written:
    """Write as a monitor does: in batches, some settled with each."""
    owed: dict[int, Owed] = {}
    settled: dict[int, Owed] = {}
    journal = Journal(path)
    n = 0
    for _ in range(chance.randint(1, 40)):
        made = [alert(n + i, chance) for i in range(1, chance.randint(2, 13))]
        n += len(made)
        gone = chance.sample(sorted(owed), chance.randint(0, len(owed)))
        journal.write(made, gone, n, n)
        owed |= {one.n: one for one in made}
        settled |= {one: owed.pop(one) for one in gone}
    journal.close()
    return Written(path.read_bytes(), owed, settled, n)


def test_damaged_at_random(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    chance = random.Random(SEED)
    rounds = int(pytestconfig.getoption("--journal-damages"))
    rounds -= rounds // OF_BEFORE
    path = tmp_path / "journal"
    counts: Counter[str] = Counter()
    templates = [write(tmp_path / f"template{number}", chance) for number in range(13)]
    for _ in range(rounds):
        for left in path.parent.glob("journal*"):
            left.unlink()
        written = chance.choice(templates)
        data = bytearray(written.data)
        name = chance.choice(list(DAMAGES))
        for _ in range(chance.choice([1, 1, 1, 2])):
            if data:
                DAMAGES[name](data, chance)
        counts[name] += 1
        path.write_bytes(data)
        journal = Journal(path)
        found = {one.n: one for one in journal.owed()}
        whole = {n: one for n, one in written.owed.items() if whole_text(one, data)}
        altered = [one for n, one in found.items() if one != (written.owed | written.settled).get(n)]
        assert not altered, (name, altered)
        assert whole.keys() <= found.keys(), (name, sorted(whole.keys() - found.keys()))
        if len(whole) < len(written.owed) and name != "cut":
            assert journal.set_aside
        if journal.set_aside:
            assert journal.last_seq > written.last_seq
        counts["rounds"] += 1
        counts["damaged"] += data != written.data
        counts["alerts"] += len(written.owed)
        counts["whole"] += len(whole)
        counts["found"] += len(whole.keys() & found.keys())
        counts["again"] += len(found.keys() & written.settled.keys())
        counts["set aside"] += journal.set_aside
        counts["set aside whole"] += bool(list(path.parent.glob("journal.unreadable*")))
        further = alert(journal.last_n + 1, chance)
        journal.write([further], [], journal.last_seq + 1, further.n)
        journal.close()
        again = Journal(path)
        assert {one.n: one for one in again.owed()} == found | {further.n: further}
        assert again.set_aside == 0
        again.close()
    print(dict(counts))
    assert counts["damaged"] > rounds * 0.9


def test_the_edition_before_damaged_at_random(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """It has no checksums: what is damaged may be read as it is. But it opens, and is moved on or set aside once."""
    chance = random.Random(SEED)
    rounds = int(pytestconfig.getoption("--journal-damages")) // OF_BEFORE
    path = tmp_path / "journal"
    template = tmp_path / "template"
    with closing(sqlite3.connect(template, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(EDITION1)
        for n in range(1, 200):
            one = alert(n, chance)
            row = (n, one.destination, one.episode, one.made_s, one.body)
            connection.execute("insert into owed values (?, ?, ?, ?, ?)", row)
            if n == 100:
                connection.execute("pragma wal_checkpoint(truncate)")
        files = {side: Path(f"{template}{side}").read_bytes() for side in ("", "-wal", "-shm")}
    counts: Counter[str] = Counter()
    for _ in range(rounds):
        for left in path.parent.glob("journal*"):
            left.unlink()
        sides = chance.choice([("",), ("-wal",), ("", "-wal", "-shm"), ("-shm",)])
        for side, content in files.items():
            data = bytearray(content)
            if side in sides:
                DAMAGES[chance.choice(["flip", "scratch", "cut", "zero", "swap", "repeat"])](data, chance)
            Path(f"{path}{side}").write_bytes(data)
        journal = Journal(path)
        counts["found"] += len(journal.owed())
        counts["set aside"] += journal.set_aside
        journal.write([alert(1000, chance)], [], journal.last_seq + 1, 1000)
        journal.close()
        again = Journal(path)
        assert again.set_aside == 0
        again.close()
        counts["rounds"] += 1
        counts["set aside whole"] += bool(list(path.parent.glob("journal.unreadable*")))
    print(dict(counts))
    assert counts["found"] > counts["rounds"] * 100
