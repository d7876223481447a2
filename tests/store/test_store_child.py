# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store that the monitor runs: whose it is, what it knows, how it ends, what it takes over."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
import yaml

from sockbpf.process.user import OWN, UNNAMED, user_of
from tests.live.ports import free_port
from tests.live.reloading import hang_up
from tests.live.waiting import until
from tests.store.both import StartBoth, child, cross, has, is_alive, listens

UNIT = Path(__file__).parents[2] / "systemd" / "sockbpf.service"
TOKEN = "t0kenQ7vXz2"


def is_free(port: int) -> bool:
    """Whether anybody could listen there."""
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def unit_rights() -> list[str]:
    """Return the command that runs another with the capabilities of the unit."""
    left = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", UNIT.read_text())
    assert left
    only = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in left[1].split())])
    return ["setpriv", f"--bounding-set={only}", "--no-new-privs"]


def test_it_has_a_user_of_its_own_and_no_rights(
    start_both: StartBoth, folder: Path, stack: ExitStack
) -> None:
    port = free_port()
    monitor = start_both(port)
    store = listens(monitor)
    number = cross(stack)
    until(lambda: has(port, number), "the alert in the store")  # whose files come and go no more
    status = Path(f"/proc/{store}/status").read_text()
    uid, gid = user_of(OWN).pw_uid, user_of(OWN).pw_gid
    assert uid not in {user.pw_uid for user in pwd.getpwall() if user.pw_name != OWN}
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert f"\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\n" in status
    assert "\nGroups:\t \n" in status
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        assert f"\nCap{kind}:\t0000000000000000\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    for task in Path(f"/proc/{store}/task").iterdir():  # each thread has its own
        with suppress(ProcessLookupError, FileNotFoundError):  # it has ended
            assert "\nNoNewPrivs:\t1\n" in (task / "status").read_text()
    limits = Path(f"/proc/{store}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert re.search(r"Max locked memory +0 +0 ", limits)
    assert os.readlink(f"/proc/{store}/cwd") == "/"
    database = folder / "store"
    assert {file.stat().st_uid for file in (database, *database.iterdir())} == {uid}
    if uid == UNNAMED:
        assert f"there is no user {OWN}" in monitor.log()


@pytest.mark.parametrize("name", ["environ", "mem", "maps", "fd/0"])
def test_not_even_its_own_user_looks_into_it(start_both: StartBoth, name: str) -> None:
    store = listens(start_both(free_port()))
    uid = user_of(OWN).pw_uid
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    done = subprocess.run(
        [*user, "head", "-c1", f"/proc/{store}/{name}"], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in done.stderr


def test_it_is_told_its_settings_and_no_other_secret(
    start_both: StartBoth, monkeypatch: pytest.MonkeyPatch, stack: ExitStack, folder: Path
) -> None:
    """The token comes from the monitor's environment: what the store has of it arrives on another way."""
    monkeypatch.setenv("STORE_TOKEN", TOKEN)
    monkeypatch.setenv("OTHER", "0therSecret")
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    port = free_port()
    store = {"listen": f"127.0.0.1:{port}", "database": f"sqlite:///{folder}/store/alerts.sqlite"}
    monitor = start_both(
        port,
        store=store | {"token": {"env": "STORE_TOKEN"}},
        http={"token": {"env": "STORE_TOKEN"}},  # not the same object: YAML would write an alias
    )
    number = cross(stack)
    pid = listens(monitor)

    def arrived() -> bool:
        url = f"http://127.0.0.1:{port}/store.json?limit=1&port={number}"
        assert requests.get(url, timeout=9).status_code == 401
        answer = requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=9)
        return answer.ok and bool(answer.json())

    until(arrived, "the alert in the store")
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert {entry.partition(b"=")[0] for entry in environment} <= {
        b"", b"PATH", b"LANG", b"LC_ALL", b"LC_CTYPE", b"TZ",
    }  # fmt: skip
    assert b"TZ=Asia/Kathmandu" in environment
    assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    held = {os.readlink(f"/proc/{pid}/fd/{number}").partition(":")[0] for number in (0, 1, 2)}
    assert held <= {"pipe", str(monitor.log_file)}


@pytest.mark.parametrize("rights", ["all", "the unit's"])
def test_it_ends_with_the_monitor(start_both: StartBoth, rights: str) -> None:
    """Told to or killed, allowed to signal the store or not: nothing is left, and the port is free."""
    before = unit_rights() if rights != "all" else []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        port = free_port()
        monitor = start_both(port, before=before)
        store = listens(monitor)
        code = {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[number]
        assert monitor.stop(number) == code
        until(lambda store=store: not is_alive(store), "the end of the store")  # type: ignore[misc]
        assert is_free(port)
        assert "Traceback" not in monitor.log()


def test_one_that_begins_when_the_monitor_is_killed_ends_too(start_both: StartBoth) -> None:
    monitor = start_both(free_port())
    os.kill(listens(monitor), signal.SIGKILL)
    store = until(lambda: child(monitor), "the next one")
    monitor.stop(signal.SIGKILL)
    until(lambda: not is_alive(store), "the end of the store")


def test_one_that_does_not_end_is_told(start_both: StartBoth) -> None:
    monitor = start_both(free_port(), before=unit_rights())
    store = listens(monitor)
    os.kill(store, signal.SIGSTOP)
    try:
        assert monitor.stop() == 0
        assert f"the store, pid {store}, does not end, and this process may not kill it" in monitor.log()
        assert "Traceback" not in monitor.log()
    finally:
        os.kill(store, signal.SIGKILL)


def test_settings_that_lead_to_it_later_start_it(start_both: StartBoth, stack: ExitStack) -> None:
    port = free_port()
    monitor = start_both(port, url=f"http://127.0.0.1:{free_port()}/alert")
    assert not child(monitor)
    config = monitor.log_file.with_name("config.yaml")
    settings = yaml.safe_load(config.read_text()) | {"url": f"http://127.0.0.1:{port}/alert"}
    config.write_text(yaml.safe_dump(settings))
    hang_up(monitor)
    listens(monitor)
    number = cross(stack)
    until(lambda: has(port, number), "the alert in the store")


def test_what_it_kept_as_nobody_goes_over(start_both: StartBoth, stack: ExitStack, folder: Path) -> None:
    """As an older one left it: a folder of nobody's with the database in it."""
    port = free_port()
    store = {"listen": f"127.0.0.1:{port}", "database": f"sqlite:///{folder}/store/alerts.sqlite"}
    before = start_both(port, store=store | {"user": "nobody"})
    number = cross(stack)
    until(lambda: has(port, number), "the alert in the store")
    assert before.stop() == 0
    kept = folder / "store"
    assert kept.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    kept.chmod(0o755)
    (kept / "alerts.sqlite").chmod(0o644)
    listens(start_both(port, store=store))
    until(lambda: has(port, number), "the old alert in the store")
    assert {file.stat().st_uid for file in (kept, *kept.iterdir())} == {user_of(OWN).pw_uid}
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in kept.iterdir()} == {0o600}
