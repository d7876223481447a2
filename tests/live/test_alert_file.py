# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The file of alerts against logrotate, which moves, compresses and cuts it while it is written to: no line is lost.

On a disk that is full or read-only no line is torn, and alerts are written again once the disk takes them.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from sockbpf.delivery.destinations.json_lines import JsonLines
from sockbpf.delivery.transport import TransportError
from tests.live.daemons import TOLD, program
from tests.live.waiting import DEADLINE_S

ROTATIONS = 40


def seqs(*paths: Path) -> list[int]:
    """Return the seqs of all lines, which are whole, in plain and compressed files."""
    found: list[int] = []
    for path in paths:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert text.endswith(b"\n") or not text
        found += [json.loads(line)["seq"] for line in text.splitlines()]
    return found


@dataclass
class Logrotate:
    """Rotates one file at each call."""

    folder: Path
    options: str
    lost: bool = False
    """Whether it put one file that it set aside in the place of another: what stood there was lost by it."""

    @property
    def path(self) -> Path:
        return self.folder / "alerts.jsonl"

    def __call__(self) -> None:
        config = self.folder / "logrotate.conf"
        config.write_text(f"{self.path} {{\nrotate 10000\nmissingok\nifempty\n{self.options}\n}}\n")
        config.chmod(0o600)
        command = [program("logrotate"), "--force", "--state", str(self.folder / "state"), str(config)]
        # A file that was there again before it made one it may complain of, or it sets it aside, under a name that
        # has the hour in it: the next such file of the hour would take its place.
        ran = subprocess.run(command, check=False, timeout=DEADLINE_S, stderr=subprocess.PIPE, text=True)
        self.lost |= ran.stderr.count("already exists, renaming") > 1
        for aside in self.folder.glob("*.backup"):
            aside.rename(f"{aside}.{time.monotonic_ns()}")


@pytest.mark.parametrize("options", ["nocreate", "create 0640", "create 0640\ncompress"])
def test_no_line_is_lost_while_logrotate_moves_the_file(tmp_path: Path, options: str) -> None:
    rotate = Logrotate(tmp_path, options)
    over = threading.Event()
    sent: list[int] = []

    def write(first: int) -> None:
        with closing(JsonLines(path=rotate.path)) as destination:
            for seq in range(first, first + 10**6):
                if over.is_set():
                    return
                destination.send(TOLD | {"seq": str(seq)})
                sent.append(seq)

    threads = [threading.Thread(target=write, args=(n * 10**6,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROTATIONS):
            rotate()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    paths = list(tmp_path.glob("alerts.jsonl*"))
    found = Counter(seqs(*paths))
    print(f"{len(sent)} lines in {len(paths)} files, {found.total() - len(found)} of them written twice")
    assert len(paths) > ROTATIONS // 2
    assert set(found) == set(sent) or rotate.lost


def test_logrotate_that_copies_and_cuts_the_file(tmp_path: Path) -> None:
    rotate = Logrotate(tmp_path, "copytruncate")
    with closing(JsonLines(path=rotate.path)) as destination:
        destination.send(TOLD | {"seq": "1"})
        destination.send(TOLD | {"seq": "2"})
        rotate()
        destination.send(TOLD | {"seq": "3"})
    assert (seqs(tmp_path / "alerts.jsonl.1"), seqs(rotate.path)) == ([1, 2], [3])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 16 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_tears_no_line(small_disk: Path) -> None:
    path, ballast = small_disk / "alerts.jsonl", small_disk / "ballast"
    ballast.write_bytes(bytes(8192))
    with closing(JsonLines(path=path)) as destination:
        written: list[int] = []

        def fill() -> None:
            for seq in range(1000):
                destination.send(TOLD | {"seq": str(seq)})
                written.append(seq)

        with pytest.raises(TransportError, match=r"room for|No space left") as failed:
            fill()
        assert not failed.value.permanent
        assert seqs(path) == written
        assert 8192 - path.stat().st_size < 1000
        with pytest.raises(TransportError):
            destination.send(TOLD | {"seq": "-1"})
        ballast.unlink()
        destination.send(TOLD | {"seq": "1000"})
    assert seqs(path) == [*written, 1000]


def test_a_read_only_disk(small_disk: Path) -> None:
    path = small_disk / "alerts.jsonl"
    with closing(JsonLines(path=path)) as destination:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        with pytest.raises(TransportError) as failed:
            destination.send(TOLD)
        assert (str(failed.value), failed.value.permanent) == (f"{path}: Read-only file system", False)
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        destination.send(TOLD)
    assert seqs(path) == [7]
