# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The file of JSON lines: what a line says, and that no line is torn, mixed or lost, whatever happens to the file."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.json_lines import TEXT, JsonLines, line_of
from sockbpf.delivery.transport import TransportError

TOLD = {
    "timestamp": "1795343123.482913", "event": "ongoing", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "10", "duration": "1.500000", "id": "1234567890123456", "seq": "7", "host": "12",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "1e5",
}  # fmt: skip
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000000", "host": "h", "seq": "7", "alerts": "12"}


def alert(seq: int, padding: int = 0) -> dict[str, str]:
    return TOLD | {"seq": str(seq), "comm": "x" * padding}


def lines(*paths: Path) -> list[dict[str, object]]:
    """Return what stands in the files; every line is whole."""
    texts = [path.read_text() for path in paths]
    assert all(text.endswith("\n") or not text for text in texts)
    return [json.loads(line) for text in texts for line in text.splitlines()]


def seqs(*paths: Path) -> list[object]:
    return [line["seq"] for line in lines(*paths)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.jsonl"


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process can grow over `size` bytes: a write that would is cut short there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def test_a_line_torn_by_others_stays_alone(path: Path) -> None:
    path.write_text('{"seq":')
    with closing(JsonLines(path=path)) as destination:
        destination.send(alert(1))
        with path.open("a") as file:
            file.write('{"torn')
        destination.send(alert(2))
    kept = path.read_text().splitlines()
    assert [kept[0], kept[2]] == ['{"seq":', '{"torn']
    assert [json.loads(kept[at])["seq"] for at in (1, 3)] == [1, 2]


def test_a_write_cut_short_is_undone(path: Path) -> None:
    with closing(JsonLines(path=path)) as destination:
        destination.send(alert(1))
        whole = path.read_bytes()
        with file_limit(len(whole) + 100):
            with pytest.raises(TransportError, match=f"jsonl: room for 100 of {len(whole)} bytes") as failed:
                destination.send(alert(2))
            assert path.read_bytes() == whole
        assert not failed.value.permanent
        with file_limit(len(whole)), pytest.raises(TransportError, match="File too large"):
            destination.send(alert(2))
        destination.send(alert(2))
    assert seqs(path) == [1, 2]


def test_a_write_cut_short_that_cannot_be_undone_takes_no_other_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program has written behind it: then only its own line may be broken."""
    write = os.write

    def write_half(file: int, line: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        half = write(file, line[: len(line) // 2])
        with path.open("a") as other:
            other.write('\n{"seq":"other"}\n')
        return half

    with closing(JsonLines(path=path)) as destination:
        monkeypatch.setattr(os, "write", write_half)
        with pytest.raises(TransportError, match="room for"):
            destination.send(alert(1))
        destination.send(alert(2))
    kept = path.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in kept[1:]] == ["other", 2]


def test_what_did_not_reach_the_disk_was_not_delivered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(JsonLines(path=path)) as destination:
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(TransportError, match="jsonl: Input/output error"):
            destination.send(alert(1))


def all_at_once(path: Path, number: int, each: int, padding: int) -> None:
    """Write from that many destinations, each from a thread of its own, the seqs from 0 on."""
    begin = threading.Barrier(number)
    failed: list[BaseException] = []

    def write(first: int) -> None:
        try:
            with closing(JsonLines(path=path)) as destination:
                begin.wait()
                for seq in range(first, first + each):
                    destination.send(alert(seq, padding))
        except BaseException as error:  # noqa: BLE001  shown by the test
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n * each,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_several_writers_do_not_mix_their_lines(path: Path) -> None:
    all_at_once(path, 4, 50, 20_000)
    assert Counter(seqs(path)) == Counter(range(200))


def test_nothing_is_lost_while_the_file_is_moved_all_the_time(path: Path) -> None:
    moved: list[Path] = []
    over = threading.Event()

    def move() -> None:
        for n in count():
            if over.is_set():
                return
            if path.exists():
                moved.append(path.rename(path.with_suffix(f".{n}")))

    mover = threading.Thread(target=move)
    mover.start()
    try:
        all_at_once(path, 4, 100, 0)
    finally:
        over.set()
        mover.join()
    assert len(moved) > 1
    found = Counter(seqs(*moved, *([path] if path.exists() else [])))
    assert set(found) == set(range(400))


def test_a_short_write_of_one_writer_does_not_cost_the_line_of_another(path: Path) -> None:
    """One hundred bytes too few for the last line: whoever has it fails, all the others are whole."""
    size = len(line_of(alert(1000))) + 1
    first, second = JsonLines(path=path), JsonLines(path=path)
    with closing(first), closing(second):
        first.send(alert(1000))
        with file_limit(3 * size - 100):
            second.send(alert(1001))
            for destination in (first, second):
                with pytest.raises(TransportError):
                    destination.send(alert(1002))
        second.send(alert(1003))
    assert seqs(path) == [1000, 1001, 1003]
