# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Silences: what may be typed, orders and their answers, the file that keeps them and what damages it."""

from __future__ import annotations

import json
import logging
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.errors import ConfigError
from sockbpf.monitor.silences import SUMMARY_CHARACTERS, Silences
from sockbpf.monitor.silences_file import MOST, beside
from sockbpf.settings.rules import MatchSettings
from sockbpf.settings.silences import FORM, conditions_of, reason_of, seconds_of, shown

CONDITIONS = ", ".join(MatchSettings.model_fields)
RSYNC = {"process": ["rsync*"], "local_port": ["873", "8000-8100"]}


class Book:
    """The silences of a monitor whose journal is in a folder; it can be started again."""

    def __init__(self, folder: Path | None) -> None:
        self.changes = 0
        self.path = beside(folder / "journal") if folder else None
        self.start()

    def start(self) -> None:
        self.silences = Silences(self.path, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def silence(self, for_s: float = 7200, **match: Any) -> dict[str, Any]:
        return self.silences.order(
            {"do": "silence", "match": match or RSYNC, "for": for_s, "reason": "backup"}
        )


def test_a_line_says_what_is_silenced_as_far_as_it_has_room(tmp_path: Path) -> None:
    book = Book(tmp_path)
    assert book.silences.summary() == ""
    book.silence(60)
    book.silence(3600, unit=[f"{'x' * 60}.service"])
    first, second = book.silences.summary().split("; ")
    assert first.startswith(f"unit={'x' * 60}.service until 2")
    assert second.startswith("process=rsync*,local_port=873,8000-8100 until 2")
    assert second.endswith(" UTC (backup)")
    long = Book(None)
    long.silence(60, local_port=[str(port) for port in range(1000, 1060)])
    assert len(long.silences.now()) == 1
    assert long.silences.summary().startswith("local_port=1000,1001,")
    assert "… until 2" in long.silences.summary()
    for _ in range(9):
        book.silence(7200, unit=[f"{'y' * 60}.service"])
    line = book.silences.summary()
    assert len(line) <= SUMMARY_CHARACTERS
    shown, more = line.count("unit="), line.rpartition("; ")[2]
    assert more == f"{11 - shown} more"


def test_what_is_typed() -> None:
    text = "process=rsync*,local_port=873,8000-8100"
    assert conditions_of(text) == RSYNC
    assert conditions_of(f" local_port=873, local_port=8000-8100,{text.partition(',')[0]}") == RSYNC
    assert shown(RSYNC) == text
    assert (seconds_of("2h"), seconds_of("90"), seconds_of("30d")) == (7200, 90, 2_592_000)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rsync", f"{FORM}, got 'rsync'"),
        ("", f"{FORM}, got ''"),
        ("proces=x", f"--match: unknown condition proces, expected one of {CONDITIONS}, did you mean process?"),
        ("port=873", "--match: unknown condition port, expected one of protocol, type, local_port"),
        ("local_port=87x", "--match: local_port: expected a port from 0 to 65535, or a range such as 8000-8100"),
        ("listener=true,listener=false", "--match: listener: expected true or false, got "),
        ("process=\x1b[31m", "--match: process: expected a process's name or a pattern such as rsync*, got "),
        ("process=", "--match: process: expected a process's name or a pattern such as rsync*, got ''"),
        ("protocol=udp,listener=true", "--match: expected conditions that fit together"),
    ],
)  # fmt: skip
def test_conditions_that_make_no_sense(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        conditions_of(text)
    (said,) = refused.value.faults
    assert said.startswith(fault)
    assert said.isprintable()


@pytest.mark.parametrize("text", ["", "2 hours", "0s", "31d", "-1h", "1e9", "nan"])
def test_durations_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="--for: expected a duration from 1s to 30d"):
        seconds_of(text)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "x" * 201])
def test_reasons_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="--reason: expected one line"):
        reason_of(text)


def test_a_silence_is_made_listed_kept_and_ended(tmp_path: Path) -> None:
    book = Book(tmp_path)
    answer = book.silence()
    ((made,), kept) = answer["silences"], answer["kept"]
    assert (made["match"], made["reason"], kept) == (RSYNC, "backup", "")
    assert made["until"] == pytest.approx(time.time() + 7200, abs=60)
    assert book.path
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600
    book.start()
    assert book.silences.order({"do": "list"}) == {"silences": [made]}
    (silence,) = book.silences.now()
    assert silence.match.local_ports == ((873, 873), (8000, 8100))
    assert book.silences.order({"do": "end", "id": made["id"]})["silences"] == [made]
    book.start()
    assert book.silences.now() == ()
    assert book.silences.order({"do": "end", "id": made["id"]})["faults"]
    assert book.changes == 3


def test_a_silence_ends_by_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(tmp_path)
    book.silence(7200)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 7100)
    assert len(book.silences.now()) == 1
    monkeypatch.setattr(time, "time", lambda: now_s + 7300)
    book.start()
    assert book.silences.told() == []


def test_there_are_not_many(tmp_path: Path) -> None:
    book = Book(tmp_path)
    for port in range(MOST):
        assert "faults" not in book.silence(local_port=[str(port)])
    assert book.silence()["faults"] == [f"there are {MOST} silences already; --end one of them"]
    book.start()
    assert len(book.silences.now()) == MOST


def test_without_a_journal_or_room_it_is_said(tmp_path: Path) -> None:
    assert Book(None).silence()["kept"] == "the monitor has no journal"
    book = Book(tmp_path)
    (tmp_path / "journal.silences.new").mkdir()
    assert "cannot be written: Is a directory" in book.silence()["kept"]
    assert len(book.silences.now()) == 1


ONE = '[{"id": "00000000", "made": 1, "until": 2, "match": %s}]'
DAMAGED = {
    "empty": b"",
    "no-json": b"[{",
    "bytes": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "object": b"{}",
    "numbers": b"[1]",
    "time": b'[{"id": "00000000", "made": NaN, "until": 2, "match": {"process": ["a"]}}]',
    "match": (ONE % '{"process": "a"}').encode(),
    "values": (ONE % f'{{"process": {json.dumps(["a"] * 100)}}}').encode(),
    "long": (ONE % f'{{"process": ["{"a" * 3_000_000}"]}}').encode(),
    "key": (ONE % '{"proces": ["a"]}').encode(),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_set_aside_and_said(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.silences"
    path.write_bytes(DAMAGED[case])
    with caplog.at_level(logging.WARNING):
        book = Book(tmp_path)
    assert book.silences.now() == ()
    assert f"{path} is damaged: set aside as {path}.unreadable-" in caplog.text
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [DAMAGED[case]]
    assert book.silence()["kept"] == ""


def test_a_file_of_another_kind_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal.silences").symlink_to("/etc/passwd")
    assert Book(tmp_path).silences.now() == ()
    assert "cannot be read, nothing is silenced" in caplog.text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
KEYS = ("match", "for", "reason", "id", "made", "until")


@given(
    st.fixed_dictionaries(
        {"do": st.sampled_from(["silence", "end", "list"]) | VALUES}, optional=dict.fromkeys(KEYS, VALUES)
    )
)
def test_any_order_is_done_or_refused(order: dict[str, Any]) -> None:
    answer = Book(None).silences.order(order)
    json.dumps(answer)
    assert answer.keys() & {"silences", "faults"}
