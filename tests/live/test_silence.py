# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf silence`: nothing is told in a silence, over a restart too, and what is over still is told after it."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.live.command_line import run
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until

THRESHOLD, OVER = 20_011, 30_011
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def at(stack: ExitStack) -> Path:
    """Return where a monitor's socket is to be; pytest's own folders have too long names."""
    return Path(stack.enter_context(TemporaryDirectory(prefix="sb-"))) / "m.sock"


def said(at: Path, *options: str, code: int = 0, before: list[str] | None = None) -> str:
    """Run `sockbpf silence` and return what it says."""
    done = run("silence", *options, "--socket", at, before=before)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def status(at: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("status", "--json", "--socket", at).stdout)
    return told


def test_a_silence_from_its_beginning_to_its_end(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, at: Path, tmp_path: Path
) -> None:
    (one, of_one), (two, of_two), (other, of_other) = (tcp_pair(stack) for _ in range(3))
    settings: dict[str, Any] = {
        "thresholds": thresholds(THRESHOLD),
        "status": {"socket": str(at)},
        "journal": {"path": str(tmp_path / "journal")},
        "repeat": "1s",
        "heartbeat": "1s",
    }
    monitor = start_monitor(**settings)
    one.sendall(bytes(OVER))
    before = receiver.first(event="exceeded", local_port=port(of_one), type="RECV")
    ports = f"{port(of_one)},{port(of_two)}"
    made = said(at, "--match", f"local_port={ports},type=RECV", "--for", "2h", "--reason", "a test")
    (id_,) = re.findall(
        rf"^([0-9a-f]{{8}}) until .*: local_port={ports},type=RECV \(a test\)$", made, re.MULTILINE
    )
    until(
        lambda: any(
            re.fullmatch(rf"local_port={ports},type=RECV until .* UTC \(a test\)", each.get("silences", ""))
            for each in receiver.alerts(event="heartbeat")
        ),
        "a heartbeat that tells it",
    )
    known = len(receiver.alerts(local_port=port(of_one)))
    for client in (two, other):
        client.sendall(bytes(OVER))
    receiver.first(event="exceeded", local_port=port(of_other), type="RECV")
    until(lambda: len(receiver.alerts(event="ongoing", local_port=port(of_other))) > 2, "two repeats")
    assert len(receiver.alerts(local_port=port(of_one))) <= known + 1  # one may have been under way
    assert not receiver.alerts(local_port=port(of_two), type="RECV")
    shown = until(lambda: (now := status(at))["silenced"] == 1 and now, "the status")
    assert [each["id"] for each in shown["silences"]] == [id_]
    assert shown["counters"]["silenced"] > 2
    silenced = {each["local_port"] for each in shown["open"] if each.get("silenced")}
    assert silenced == {port(of_one), port(of_two)}
    page = run("status", "--socket", at).stdout
    assert re.search(rf"silence {id_} for 1(20|1\d) min more", page), page  # some seconds have passed

    drain(of_one, OVER)  # it was told before the silence: so is its end
    receiver.first(event="cleared", id=before["id"])
    monitor.process.send_signal(signal.SIGKILL)
    monitor.process.wait()
    start_monitor(**settings)
    assert id_ in said(at, "--list")
    until(lambda: status(at)["silenced"] == 1, "the queue found again, and not told")
    assert not receiver.alerts(local_port=port(of_two), type="RECV")

    assert said(at, "--end", id_).startswith(f"ended: {id_} ")
    late = receiver.first(event="exceeded", local_port=port(of_two), type="RECV")
    assert late["size"] == str(OVER)
    drain(of_two, OVER)
    receiver.first(event="cleared", id=late["id"])
    assert said(at, "--list") == "no silences\n"


def test_a_short_silence_ends_by_itself(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, at: Path
) -> None:
    client, server = tcp_pair(stack)
    monitor = start_monitor(thresholds=thresholds(THRESHOLD), status={"socket": str(at)})
    said(at, "--match", f"process=py*,local_port={port(server)}", "--for", "3s")
    client.sendall(bytes(OVER))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert not said(at, "--list").count(":")
    assert told["duration"] == "0"
    assert monitor.stop() == 0
    assert monitor.counters()["silenced"] == 1


def test_what_makes_no_sense_and_who_may_not(start_monitor: StartMonitor, at: Path) -> None:
    assert "Remedy: start one" in said(at, "--list", code=3)
    for folder in (at.parent, Path(os.environ.get("VIRTUAL_ENV", "/"))):
        folder.chmod(0o755)
    start_monitor(status={"socket": str(at)}, kernel={"hooks": "none"})
    for options, fault in (
        (["--match", "prot=1", "--for", "2h"], "--match: unknown condition prot, expected one of protocol"),
        (["--match", "local_port=1"], "--for: for how long? such as --for 2h"),
        (["--match", "local_port=1", "--for", "2y"], "--for: expected a duration from 1s to 30d"),
        (["--end", "00000000"], "--end: there is no silence with this id; --list shows all"),
        ([], "expected one of --match, --end and --list"),
    ):
        assert said(at, *options, code=2).startswith(fault)
    said(at, "--match", "local_port=1", "--for", "2h", code=3, before=NOBODY)
    assert said(at, "--list") == "no silences\n"
