# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a journal cannot read is set aside, bounded, and keeps nothing else from being read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sockbpf.delivery import journal_aside
from sockbpf.delivery.journal import Journal
from sockbpf.delivery.journal_lines import (
    FILE,
    OWED,
    first_line,
    gone_lines,
    last_line,
    line,
    owed_line,
    read,
)
from sockbpf.delivery.owed import MAX_BODY, Owed
from tests.unit.journal_files import aside, written
from tests.unit.journals import body, owed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"not a journal\n" * 100, os.urandom(8192), b"SQLite format 3\0" + os.urandom(9000)],
    ids=["empty", "zeros", "text", "noise", "database"],
)
def test_something_else_in_its_place_is_set_aside_once(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for _ in range(3):
        journal = Journal(path)
        assert journal.owed() == []
        journal.write([], [], journal.last_seq + 1, 1)
        journal.close()
    assert [file.read_bytes() for file in aside(path)] == ([content] if content else [])
    assert caplog.text.count("set aside as") == bool(content)


def test_senseless_files_are_bounded(path: Path) -> None:
    path.parent.mkdir()
    for n in range(23):
        path.write_bytes(b"noise of a hundred bytes or more " * 5 + b"%d" % n)
        Journal(path).close()
    assert [file.read_bytes() for file in aside(path)] == [
        b"noise of a hundred bytes or more " * 5 + b"%d" % n for n in range(15, 23)
    ]


def test_another_edition_is_set_aside_whole(path: Path) -> None:
    path.parent.mkdir()
    newer = line(FILE, b'{"journal":"sockbpf","edition":3}') + owed_line(owed(1))
    path.write_bytes(newer)
    journal = Journal(path)
    assert (journal.owed(), journal.set_aside) == ([], 1)
    journal.close()
    assert [file.read_bytes() for file in aside(path)] == [newer]


BODIES = {
    "no JSON": "ts=1",
    "no object": '["timestamp","event","id","seq"]',
    "no timestamp": '{"event":"exceeded","id":"7","seq":"7"}',
    "a number": body(7).replace('"7"', "7"),
    "seq": body(7, seq="seven"),
    "large seq": body(7, seq="9" * 30),
    "half a surrogate pair": body(7, comm="\ud800"),
    "no time": body(7, timestamp="nan"),
    "deep": "[" * 20_000,
    "large": body(7, comm="x" * MAX_BODY),
    "not Unicode": "\udcff",
}


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_a_row_that_is_no_alert_is_set_aside_by_itself(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checksum fits: whoever wrote it, nothing that cannot be sent gets out of the journal."""
    written(path, 7)
    head = b'{"n":7,"destination":"http","episode":"7","made_s":1.5}\t'
    bad = line(OWED, head + text.encode(errors="surrogateescape"))
    path.write_bytes(path.read_bytes() + bad + owed_line(owed(8)))
    for _ in range(2):
        journal = Journal(path)
        assert journal.owed() == [*(owed(n) for n in range(7)), owed(8)]
        assert journal.last_seq >= 8
        journal.close()
    assert caplog.text.count("set aside 1 of its alerts") == 1
    assert text.encode(errors="surrogateescape") in path.with_name("journal.set-aside").read_bytes()


@pytest.mark.parametrize(
    "head",
    [
        b"{}",
        b"[]",
        b'{"n":"7","destination":"http","episode":"7","made_s":1.5}',
        b"7" * 5000,
        b"[" * 20_000,
        b'{"n":7,"destination":null,"episode":"7","made_s":1.5}',
        b'{"n":-1,"destination":"h","episode":"","made_s":1.5}',
    ],
)
def test_a_row_whose_head_makes_no_sense_is_set_aside_by_itself(path: Path, head: bytes) -> None:
    written(path, 7)
    path.write_bytes(path.read_bytes() + line(OWED, head + b"\t" + body(7).encode()))
    journal = Journal(path)
    assert ([one.n for one in journal.owed()], journal.set_aside) == (list(range(7)), 1)
    journal.close()


def test_what_a_later_version_keeps_besides_is_borne(path: Path) -> None:
    path.parent.mkdir()
    head = b'{"n":7,"destination":"http","episode":"7","made_s":17.5,"further":"x"}\t'
    path.write_bytes(first_line() + last_line(7, 7) + line(OWED, head + body(7).encode()))
    journal = Journal(path)
    assert journal.owed() == [owed(7)]
    journal.close()


def test_what_is_set_aside_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_aside, "ASIDE_BYTES", 3000)
    for n in range(23):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(first_line() + last_line(n, n) + b"x" * 500 + b"\n" + owed_line(owed(n)))
        journal = Journal(path)
        assert journal.owed() == [owed(n)]
        journal.close()
    assert 2000 < path.with_name("journal.set-aside").stat().st_size <= 3100
    assert "is full" in caplog.text


def test_a_name_cannot_forge_a_line(path: Path) -> None:
    forged = owed_line(owed(99)).decode()
    journal = Journal(path)
    journal.write([Owed(1, "http", "1", 1.5, body(1, comm=forged))], [], 1, 1)
    journal.close()
    data = path.read_bytes()
    place = data.index(b'"comm"')
    path.write_bytes(data[: place - 1] + b"!" + data[place:])
    journal = Journal(path)
    assert (journal.owed(), journal.set_aside) == ([], 1)
    journal.close()


def test_numbers_do_not_run_backward(path: Path) -> None:
    """Also where the lines that told the last ones are damaged, or only what is gone tells them."""
    lines = [first_line(), last_line(50, 60), owed_line(owed(70)), *gone_lines([80])]
    assert (read(b"".join(lines)).last_seq, read(b"".join(lines)).last_n) == (70, 80)
    written(path, 31)
    path.write_bytes(path.read_bytes().replace(last_line(31, 31), b"?" * len(last_line(31, 31))))
    journal = Journal(path)
    assert journal.last_seq > 10**12
    assert journal.last_n >= 30
    journal.close()
