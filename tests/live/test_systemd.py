# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The service as an operator gets it: `make service` under a real systemd as PID 1, with all that can be configured.

One systemd for all tests, each of which leaves the service running. The unit is the shipped one; a drop-in shortens
its times. What is installed needs no checkout: the service cannot see it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.live.systemd import REPOSITORY, Systemd, running_systemd
from tests.live.waiting import until

UNIT = "sockbpf.service"
TOKEN = "t0kenOfTheService"
SOON = f"[Service]\nRestartSec=100ms\nWatchdogSec=5s\nInaccessiblePaths={REPOSITORY}\n"
SETTINGS = {
    "url": "http://localhost:8080/alert",
    "http": {"token": {"file": "/etc/sockbpf/token"}},
    "thresholds": {"send": "100MiB", "recv": 150_011},
    "events": ["exceeded", "ongoing", "cleared"],
    "metrics": {"listen": "127.0.0.1:9464"},
    "destinations": [{"type": "file", "path": "/var/log/sockbpf/alerts.jsonl"}],
    "store": {"token": {"file": "/etc/sockbpf/token"}},
}
OVER = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
for _ in range(4):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(45_011), sock.getsockname())
print(sock.getsockname()[1], flush=True)
input()
"""
USER = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"]
ELSEWHERE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@pytest.fixture(scope="module")
def manager() -> Iterator[Systemd]:
    """Start systemd, and the service as `make service` installs it."""
    with running_systemd() as made:
        made.file("/etc/sockbpf").mkdir(exist_ok=True)
        for name, text in (("config.yaml", yaml.safe_dump(SETTINGS)), ("token", TOKEN)):
            made.file(f"/etc/sockbpf/{name}").write_text(text)
            made.file(f"/etc/sockbpf/{name}").chmod(0o600)
        soon = made.file(f"/etc/systemd/system/{UNIT}.d/soon.conf")
        soon.parent.mkdir(exist_ok=True)
        soon.write_text(SOON)
        made.run("touch", *(f"{REPOSITORY}/.venv/.ready{what}" for what in ("", "-for-packages")))
        made.run("make", "-C", str(REPOSITORY), "service", net=False)  # its libraries come from an index
        try:
            yield made
        finally:
            print(made.run("journalctl", "-u", UNIT, "--no-pager", "-n", "300", check=False))


@contextmanager
def over(manager: Systemd, *before: str) -> Iterator[dict[str, str]]:
    """Have a process's socket stand over, started by a command; yield its port."""
    enter = ["nsenter", "-t", str(manager.pid), "--mount", "--pid", "--net", f"--root={manager.root}"]
    with subprocess.Popen(
        [*enter, *before, *USER, "/usr/bin/python3", "-c", OVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout
        port = holder.stdout.readline().strip()
        assert port
        yield {"local_port": port}
        holder.communicate("\n")


def ask(manager: Systemd, path: str, *options: str, port: int = 8080) -> str:
    return manager.run("curl", "-s", *options, f"http://127.0.0.1:{port}{path}", check=False)


def stored(manager: Systemd, port: str) -> list[dict[str, object]]:
    said = ask(manager, f"/store.json?port={port}", "-H", f"Authorization: Bearer {TOKEN}")
    return json.loads(said) if said.startswith("[") else []


def main_pid(manager: Systemd) -> int:
    return int(manager.shown(UNIT, "MainPID"))


def log(manager: Systemd) -> str:
    return manager.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager")


def works(manager: Systemd) -> int:
    """Wait until the service runs with its store; return the process id of the store."""
    until(lambda: manager.shown(UNIT, "ActiveState") == "active", lambda: log(manager))
    until(
        lambda: ask(manager, "/healthz", "-o", "/dev/null", "-w", "%{http_code}") == "200",
        lambda: log(manager),
    )
    (store,) = (pid for pid, command in manager.pids(UNIT).items() if " store " in command)
    return store


def test_it_is_confined(tmp_path: Path) -> None:
    """By systemd's own figure, which was 4.4 without a store's address to hold."""
    unit = REPOSITORY / "systemd" / UNIT
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"Overall exposure level for sockbpf.service: ([0-9.]+) ", said)
    assert exposure
    print(f"exposure {exposure[1]}")
    assert float(exposure[1]) < 4.0


def test_it_is_ready_and_everything_works(manager: Systemd) -> None:
    """Another user's sockets are found, with their owner, here and in another network; all destinations get it."""
    store = works(manager)
    assert manager.shown(UNIT, "StatusText") == "watching by hooks"
    status = manager.run("cat", f"/proc/{store}/status")
    uid = manager.run("id", "-u", "sockbpf-store").strip()
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    for before in ((), tuple(ELSEWHERE)):
        with over(manager, *before) as wanted:
            alert = until(lambda: stored(manager, wanted["local_port"]), lambda: log(manager))[-1]
            assert (alert["comm"], alert["type"]) == ("python3", "RECV")
            assert alert["pid"]
            lines = manager.file("/var/log/sockbpf/alerts.jsonl").read_text().splitlines()
            assert wanted["local_port"] in {str(json.loads(line)["local_port"]) for line in lines}
    told = json.loads(manager.run("/usr/local/bin/sockbpf", "status", "--json"))
    assert (told["pid"], told["state"], told["mode"]) == (main_pid(manager), "watching", "ebpf")
    assert "sockbpf_alerts_total" in ask(manager, "/metrics", port=9464)
    assert manager.file("/var/lib/sockbpf-store").stat().st_mode & 0o777 == 0o700
    # What other tests do on this machine may be too much to tell.
    assert not re.search(" (WARNING +(?!lost: |thresholds > )|ERROR )", log(manager)), log(manager)
    assert TOKEN not in log(manager)


def test_a_restart_and_a_reload(manager: Systemd) -> None:
    works(manager)
    before = main_pid(manager)
    manager.run("systemctl", "reload", UNIT)
    until(lambda: "new settings: thresholds" in log(manager), lambda: log(manager))
    assert main_pid(manager) == before
    manager.run("systemctl", "reset-failed", UNIT, check=False)
    manager.run("systemctl", "restart", UNIT)
    works(manager)
    assert main_pid(manager) != before


@pytest.mark.parametrize("sent", ["KILL", "STOP"])
def test_killed_or_hung_it_is_started_again(manager: Systemd, sent: str) -> None:
    """Killed at once; hung when the watchdog loses patience. The store goes with it, another comes."""
    before, store, restarts = main_pid(manager), works(manager), int(manager.shown(UNIT, "NRestarts"))
    manager.run("kill", f"-{sent}", str(before))
    until(lambda: int(manager.shown(UNIT, "NRestarts")) > restarts, lambda: log(manager))
    now = works(manager)
    assert main_pid(manager) != before
    assert now != store
    assert len(manager.pids(UNIT)) == 2


def test_stopped_nothing_is_left(manager: Systemd) -> None:
    """Without the right to signal the store: exit code 0, no process, no port, and no restart."""
    works(manager)
    manager.run("systemctl", "stop", UNIT)
    assert manager.shown(UNIT, "Result") == "success"
    assert manager.shown(UNIT, "ExecMainStatus") == "0"
    assert manager.pids(UNIT) == {}
    assert "sockbpf" not in manager.run("ps", "-eo", "args")
    assert manager.run("ss", "-Hltn") == ""
    assert "Traceback" not in log(manager)
    manager.run("systemctl", "reset-failed", UNIT, check=False)
    manager.run("systemctl", "start", UNIT)
    works(manager)


def test_a_faulty_configuration_is_not_started_again(manager: Systemd) -> None:
    config = manager.file("/etc/sockbpf/config.yaml")
    good = config.read_text()
    config.write_text("url: nowhere\n")
    try:
        manager.run("systemctl", "reset-failed", UNIT, check=False)  # so many starts in a row are refused
        manager.run("systemctl", "restart", UNIT, check=False)
        assert manager.shown(UNIT, "ActiveState") == "failed"
        assert manager.shown(UNIT, "ExecMainStatus") == "2"
        assert manager.pids(UNIT) == {}
    finally:
        config.write_text(good)
    manager.run("systemctl", "reset-failed", UNIT, check=False)
    manager.run("systemctl", "start", UNIT)
    works(manager)
