# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Network namespaces are found by whoever is in them or names them, and left again however a visit ends."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockbpf.kernel.look import netns
from sockbpf.kernel.look.netns import inside, namespaces

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="entering a namespace needs root")


def here() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Return the path of a namespace that lives as long as a process in it."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare")
    command = ["unshare", "--net", "sh", "-c", "echo entered; cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "entered\n"
        yield f"/proc/{process.pid}/ns/net"
        process.stdin.close()


def test_ones_own_namespace_is_found() -> None:
    found = namespaces()
    assert os.stat(found[here()]).st_ino == here()


def test_names_are_found_and_what_is_not_there_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "blue"
    named.touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    monkeypatch.setattr(netns, "NAMED", (tmp_path / "absent", tmp_path))
    assert namespaces()[named.stat().st_ino] == str(named)


def test_a_process_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "same").symlink_to("/proc/self/ns/net")
    monkeypatch.setattr(netns, "NAMED", (tmp_path,))
    assert namespaces()[here()].startswith("/proc/")


def test_what_is_gone_cannot_be_entered() -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError), inside("/proc/0/ns/net"):
        pytest.fail("entered")
    assert descriptors() == before


def test_what_is_no_namespace_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home, before = here(), descriptors()
    with pytest.raises(OSError, match="setns"), inside(str(tmp_path / "file")):
        pytest.fail("entered")
    assert here() == home
    assert descriptors() == before


@needs_root
def test_a_namespace_is_found_by_the_process_in_it(elsewhere: str) -> None:
    number = os.stat(elsewhere).st_ino
    assert number != here()
    assert os.stat(namespaces()[number]).st_ino == number


@needs_root
def test_a_visit_ends_at_home(elsewhere: str) -> None:
    home, before = here(), descriptors()
    with inside(elsewhere) as number:
        assert here() == number == os.stat(elsewhere).st_ino != home
        assert len(descriptors()) == len(before) + 1  # the way back; nothing keeps the namespace alive
    assert here() == home
    assert descriptors() == before


@needs_root
def test_a_visit_that_fails_ends_at_home(elsewhere: str) -> None:
    home, before = here(), descriptors()
    with pytest.raises(ZeroDivisionError), inside(elsewhere):
        raise ZeroDivisionError
    assert here() == home
    assert descriptors() == before


@needs_root
def test_a_namespace_ends_while_it_is_visited(elsewhere: str) -> None:
    """Its path is gone with its process; the visit still ends at home."""
    home = here()
    pid = int(elsewhere.split("/")[2])
    with inside(elsewhere):
        os.kill(pid, 9)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert here() == home
