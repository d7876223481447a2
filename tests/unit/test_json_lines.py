# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file of JSON lines: what a line says, whose file it is, what happens when it is moved or cut."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.json_lines import TEXT, JsonLines, line_of
from sockbpf.delivery.transport import TransportError
from tests.unit.json_files import TOLD, alert, seqs

HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000000", "host": "h", "seq": "7", "alerts": "12"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.jsonl"


def test_numbers_are_numbers_to_the_last_digit_and_text_is_text() -> None:
    assert line_of(TOLD) == (
        '{"timestamp":1795343123.482913,"event":"ongoing","protocol":"tcp","local_ip":"10.0.0.1","local_port":80,'
        '"remote_ip":"::1","remote_port":40000,"type":"SEND","size":9,"threshold":8,"peak":10,"duration":1.500000,'
        '"id":"1234567890123456","seq":7,"host":"12","netns":4026531840,"mode":"ebpf","pid":4711,"comm":"1e5"}'
    )


def test_folded_and_heartbeat() -> None:
    folded = {"event": "exceeded", "count": "37", "worst": "7", "duration": "0"}
    assert line_of(folded) == '{"event":"exceeded","count":37,"worst":"7","duration":0}'
    assert json.loads(line_of(HEARTBEAT))["alerts"] == 12


@settings(deadline=None)
@given(st.text(), st.decimals(0, 10**10, places=6))
def test_a_line_says_what_was_told(text: str, number: Decimal) -> None:
    line = line_of(dict.fromkeys(TEXT, text) | {"duration": f"{number:f}", "other": text})
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line, parse_float=str, parse_int=str)
    assert read == dict.fromkeys(TEXT, text) | {"duration": f"{number:f}", "other": text}
    assert json.loads(line, parse_float=Decimal)["duration"] == number


@pytest.mark.parametrize("text", ["007", "1e5", "NaN", "-", "1.", ".5", "0x10", "\u0661", "1\n", " 1", ""])
def test_what_json_takes_for_no_number_is_text(text: str) -> None:
    assert json.loads(line_of({"size": text}))["size"] == text


def test_one_line_for_each_alert_in_a_file_of_its_own_mode(path: Path) -> None:
    before = os.umask(0o022)
    try:
        with closing(JsonLines(path=path)) as destination:
            destination.send(alert(1))
            destination.send(alert(2))
    finally:
        os.umask(before)
    assert seqs(path) == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_stood_there_stays(path: Path) -> None:
    path.write_text('{"seq":0}\n')
    with closing(JsonLines(path=path)) as destination:
        destination.send(alert(1))
    assert seqs(path) == [0, 1]


def test_the_file_is_let_go(path: Path) -> None:
    destination = JsonLines(path=path)
    destination.send(alert(1))
    destination.close()
    destination.close()
    held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(path) not in held


def test_no_folder_is_made_and_a_folder_made_later_serves(tmp_path: Path) -> None:
    path = tmp_path / "later" / "alerts.jsonl"
    with closing(JsonLines(path=path)) as destination:
        with pytest.raises(TransportError) as failed:
            destination.send(alert(1))
        assert (str(failed.value), failed.value.permanent) == (f"{path}: No such file or directory", False)
        path.parent.mkdir()
        destination.send(alert(1))
        path.unlink()
        path.parent.rmdir()
        with pytest.raises(TransportError):
            destination.send(alert(2))
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkdir, "Is a directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: os.symlink("/dev/full", path), "not a regular file"),
    ],
)
def test_what_is_no_file_is_not_written_to(path: Path, make: Callable[[Path], None], reason: str) -> None:
    make(path)
    with closing(JsonLines(path=path)) as destination, pytest.raises(TransportError) as failed:
        destination.send(alert(1))
    assert str(failed.value) == f"{path}: {reason}"


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_file_moved_away_is_left(path: Path, made_anew: bool) -> None:
    moved = path.with_suffix(".1")
    with closing(JsonLines(path=path)) as destination:
        destination.send(alert(1))
        path.rename(moved)
        if made_anew:
            path.touch()
        destination.send(alert(2))
    assert (seqs(moved), seqs(path)) == ([1], [2])


def test_a_file_moved_while_it_is_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who moved it may have read it already: the line is written into the new one too."""
    write, moved = os.write, path.with_suffix(".1")

    def move_and_write(file: int, line: bytes) -> int:
        if not moved.exists():
            path.rename(moved)
        return write(file, line)

    with closing(JsonLines(path=path)) as destination:
        monkeypatch.setattr(os, "write", move_and_write)
        destination.send(alert(1))
    assert (seqs(moved), seqs(path)) == ([1], [1])


def test_a_file_cut_to_nothing_is_filled_from_its_start(path: Path) -> None:
    with closing(JsonLines(path=path)) as destination:
        destination.send(alert(1))
        os.truncate(path, 0)
        destination.send(alert(2))
    assert seqs(path) == [2]
