# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""No line is torn: by other writers, by a full disk, by a file that moves while it is written."""

from __future__ import annotations

import errno
import json
import os
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from sockbpf.delivery.destinations.json_lines import JsonLines, line_of
from sockbpf.delivery.transport import TransportError
from tests.unit.json_files import alert, seqs


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
