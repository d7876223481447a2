# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf status` says what is over now, as the alerts do; of a monitor that is gone, hangs or is new it says so."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.live.command_line import run
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ours import only_ours
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair
from tests.live.stalling import UNREAD
from tests.live.waiting import until

THRESHOLD = 20_011
OVER = 30_011
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def at(stack: ExitStack) -> Path:
    """Return where a monitor's socket is to be; pytest's own folders have too long names."""
    return Path(stack.enter_context(TemporaryDirectory(prefix="sb-"))) / "m.sock"


def told(at: Path) -> dict[str, Any]:
    """Return a status that was made after this call: one is given again for half a second."""
    asked_s = time.time()

    def fresh() -> dict[str, Any] | None:
        done = run("status", "--json", "--socket", at)
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status if status["timestamp"] > asked_s else None

    return until(fresh, "a new status")  # type: ignore[no-any-return]


def queues(status: dict[str, Any], **fields: object) -> list[dict[str, Any]]:
    """Return the open episodes with these fields."""
    return [queue for queue in status["open"] if fields.items() <= queue.items()]


def refused(*arguments: str | Path, before: list[str] | None = None) -> str:
    done = run("status", *arguments, before=before)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_it_says_what_the_alerts_say(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, at: Path
) -> None:
    client, server = tcp_pair(stack)
    monitor = start_monitor(
        thresholds=thresholds(THRESHOLD),
        status={"socket": str(at)},
        rules=[{"name": "this-one", "match": {"local_port": [port(server)]}, "severity": "critical"}],
    )
    assert stat.S_IMODE(at.stat().st_mode) == 0o600
    before = told(at)
    assert (before["pid"], before["state"], before["blind"]) == (monitor.pid, "watching", [])
    assert not queues(before, local_port=port(server))
    client.sendall(bytes(OVER))
    alert = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    status = told(at)
    (queue,) = queues(status, local_port=port(server), type="RECV")
    same = {"id", "protocol", "local_ip", "remote_ip", "condition", "severity", "rule", "netns", "mode"}
    assert {name: queue[name] for name in same if name in queue} == {
        name: (int(alert[name]) if name == "netns" else alert[name]) for name in same if name in alert
    }
    why_and_whose = ("cause", "confidence", "reason", "evidence", "user", "unit", "container", "cgroup")
    assert [queue.get(name) for name in why_and_whose] == [alert.get(name) for name in why_and_whose]
    assert queue["cause"]
    assert (queue["size"], queue["threshold"], queue["held"]) == (OVER, THRESHOLD, False)
    assert (queue["rule"], queue["severity"]) == ("this-one", "critical")
    assert float(alert["timestamp"]) == pytest.approx(queue["since"], abs=0.01)
    assert status["over"] >= 1
    assert status["rules"] == 1
    assert status["counters"]["alerts"] >= 1
    page = run("status", "--socket", at).stdout
    assert f"127.0.0.1:{port(server)}" in page
    assert "this-one" in page
    drain(server, OVER)
    receiver.first(event="cleared", id=alert["id"])
    assert not queues(told(at), id=alert["id"])


def test_what_is_stalled_held_and_owed(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, at: Path
) -> None:
    (client, server), (other, another) = tcp_pair(stack), tcp_pair(stack)
    start_monitor(
        thresholds=thresholds(THRESHOLD),
        status={"socket": str(at)},
        rules=only_ours(port(server), port(another), type="RECV"),
        hold="1h",
        stalled={"after": "1500ms", "above": "1KiB"},
        kernel={"hooks": "none"},
        destinations=[{"type": "http", "name": "gone", "url": "http://127.0.0.1:9/"}],
    )
    status = told(at)
    assert (status["mode"], status["unseen"], status["hooks"]) == ("poll", [], {})
    client.sendall(bytes(OVER))
    other.sendall(bytes(UNREAD))
    receiver.first(event="exceeded", condition="stalled", local_port=port(another), type="RECV")
    receiver.first(event="exceeded", condition="stalled", local_port=port(server), type="RECV")
    status = until(lambda: (now := told(at))["destinations"]["gone"]["dead"] and now, "the dead destination")
    assert queues(status, condition="stalled", local_port=port(another), size=UNREAD, held=False)
    (held,) = queues(status, condition="size", local_port=port(server), type="RECV")
    assert held["held"]
    assert (status["over"], status["stalled"], status["held"], len(status["open"])) == (0, 2, 1, 3)
    assert status["oldest"] >= 1.5
    assert status["destinations"]["http"] == {"owed": 0, "dead": False}
    assert status["owed"] == status["destinations"]["gone"]["owed"] >= 2


def test_a_monitor_that_is_not_there_or_hangs(
    start_monitor: StartMonitor, at: Path, stack: ExitStack
) -> None:
    assert f"no monitor answers at {at}: No such file or directory. Remedy: start one" in refused(
        "--socket", at
    )
    monitor = start_monitor(status={"socket": str(at)})
    monitor.process.send_signal(signal.SIGSTOP)
    said = refused("--socket", at)
    monitor.process.send_signal(signal.SIGCONT)
    assert f"the monitor, process {monitor.pid}, does not answer within 3 s" in said
    assert told(at)["pid"] == monitor.pid
    monitor.stop(signal.SIGKILL)
    assert "Connection refused. Remedy: start one" in refused("--socket", at)
    assert told_by(start_monitor(status={"socket": str(at)}).pid, at)


def told_by(pid: int, at: Path) -> bool:
    return bool(told(at)["pid"] == pid)


def test_a_second_one_leaves_the_first_ones_socket_alone(start_monitor: StartMonitor, at: Path) -> None:
    first = start_monitor(status={"socket": str(at)}, kernel={"hooks": "none"})
    second = start_monitor(status={"socket": str(at)}, kernel={"hooks": "none"})
    until(lambda: f"another monitor has it, process {first.pid}" in second.log(), "the word about the socket")
    assert told_by(first.pid, at)
    first.stop()
    until(at.exists, "the second one's socket")
    assert told_by(second.pid, at)


def test_who_is_not_root(start_monitor: StartMonitor, at: Path) -> None:
    for folder in (at.parent, Path(os.environ.get("VIRTUAL_ENV", "/"))):
        folder.chmod(0o755)
    start_monitor(status={"socket": str(at)}, kernel={"hooks": "none"})
    said = refused("--socket", at, before=NOBODY)
    assert f"needs root, to connect to {at}. Remedy: sudo" in said
