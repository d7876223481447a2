# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""check_sockbpf as Nagios calls it: whatever is wrong, one line on the standard output and an exit code."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sockbpf import __version__
from sockbpf.counters import Counters
from sockbpf.monitor.answering import Answering
from sockbpf.plugin.check import main
from tests.live.waiting import until
from tests.unit.statuses import TOLD


@pytest.fixture
def at() -> Iterator[Path]:
    """Return the socket of a monitor on which all is well."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        path, woken = Path(folder) / "m.sock", threading.Event()
        answering = Answering(path, woken.set, Counters())
        ends: list[bool] = []

        def loop() -> None:
            while not ends:
                woken.wait(1)
                woken.clear()
                answering.give_wanted(lambda: TOLD)

        thread = threading.Thread(target=loop)
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: ends.append(True))
        answering.start()
        stack.callback(answering.stop)
        until(path.exists, "the socket")
        yield path


def checked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Return the exit code and what was said, which is all on the standard output."""
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    said = capsys.readouterr()
    assert said.err == ""
    return int(ended.value.code or 0), said.out


def test_all_is_well(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(capsys, "--socket", at) == (
        0,
        "SOCKBPF OK - 0 over, 0 stalled | over=0;0;;0 stalled=0;0;;0 oldest=0s;;;0 owed=0;;;0 lost=0c;0;;0\n",
    )


def test_ranges_are_taken_by_metric(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(
        capsys, "--socket", at, "-w", "1:,owed=@0", "-c", "oldest=5", "-c", "lost=9", "-vvv", "--unseen", "ok"
    )
    assert code == 1
    assert "over=0;1:;;0 stalled=0;0;;0 oldest=0s;;5;0 owed=0;@0;;0 lost=0c;;9;0\n" in said
    assert "counters: events=7" in said


def test_no_monitor_is_critical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, "--socket", tmp_path / "none")
    assert code == 2
    assert said.startswith(f"SOCKBPF CRITICAL - no monitor answers at {tmp_path}/none: No such file")


def test_one_that_does_not_answer_is_critical_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        code, said = checked(capsys, "--socket", f"{folder}/s", "-t", "1")
    assert code == 2
    assert f"process {os.getpid()}, does not answer within 0.5 s" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["-w", "x"], ["-w", "over=x"], ["-w", "nothing=1"], ["-c", "5:1"], ["-c", ""], ["-t", "0"], ["-t", "x"],
        ["--nothing"], ["what"], ["--rates", "NoSuchCounter"], ["--rates", "-w", "UdpNoSuch=1"],
        ["--unseen", "never"], ["-w", "over=/root:10"], ["--rates", "--tcp"],
        ["--rates", "UdpRcvbufErrors", "--port", "53"],
    ],
)  # fmt: skip
def test_bad_arguments_are_unknown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, *arguments)
    assert code == 3
    assert said.startswith("SOCKBPF UNKNOWN - ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("option", ["-h", "--help", "-V", "--version"])
def test_help_and_version_are_unknown(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, option)
    assert code == 3
    assert (
        said == f"check_sockbpf {__version__}\n"
        if "V" in option or "version" in option
        else "examples:" in said
    )


def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = checked(capsys, "--help")[1].splitlines()
    assert len(lines) <= 23  # a prompt takes a line
    assert max(map(len, lines)) <= 80


def test_an_option_that_was_mistyped_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, "--rate", "x", "--critcal", "1")
    assert code == 3
    assert said.startswith("SOCKBPF UNKNOWN - unrecognized arguments: --critcal 1, did you mean --critical?")


def test_rates(capsys: pytest.CaptureFixture[str]) -> None:
    """Datagrams to a port where nobody listens, on loopback, are counted: many in the second between two looks."""
    ends = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not ends.is_set():
                sender.sendto(b"x", ("127.0.0.1", 9))
                ends.wait(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        code, said = checked(
            capsys, "--rates", "UdpOutDatagrams,UdpLiteInErrors", "-w", "UdpOutDatagrams=5", "-v"
        )
    finally:
        ends.set()
        thread.join()
    assert code == 1
    assert "UdpOutDatagrams " in said
    assert "UdpLiteInErrors=0;;;0" in said
    assert "UdpOutDatagrams: " in said


def test_a_name_that_was_mistyped_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    _, said = checked(capsys, "--rates", "UdpRcvbufError")
    assert "did you mean UdpRcvbufErrors" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_who_is_not_root_is_told_what_is_needed(at: Path) -> None:
    at.parent.chmod(0o755)
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sockbpf.plugin.check import main; main()"
    nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        program,
    ]
    done = subprocess.run(
        [*nobody, str(Path(__file__).parents[2]), "--socket", str(at)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"SOCKBPF UNKNOWN - needs root, to connect to {at}. Remedy: sudo\n"
