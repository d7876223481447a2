# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store that the monitor runs: whose it is, what it knows, how it ends, and that nobody else gets its alerts.

Hostile here is a local user without rights, before the monitor is there or while it runs.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import yaml

from sockbpf.process.user import OWN, UNNAMED, user_of
from tests.live.monitoring import Monitor
from tests.live.reloading import hang_up
from tests.live.waiting import until
from tests.store.both import StartBoth, child, cross, has, is_alive
from tests.store.serving import free_port

UNIT = Path(__file__).parents[2] / "systemd" / "sockbpf.service"
HOSTILE = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", "/usr/bin/python3", "-c"]
TOKEN = "t0kenQ7vXz2"
SQUAT = """
import select, socket, sys
listeners = []
for host in sys.argv[2:]:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, int(sys.argv[1])))
    listener.listen()
    listeners.append(listener)
print("listens", flush=True)
while True:
    for ready in select.select([sys.stdin, *listeners], [], [])[0]:
        if ready is sys.stdin:
            sys.exit()
        ready.accept()[0].recv(4096)
        print("was connected to", flush=True)
"""
STEAL = """
import socket, sys
for reuse in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    for host in ("127.0.0.1", "0.0.0.0", "::"):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as thief:
            thief.setsockopt(socket.SOL_SOCKET, reuse, 1)
            try:
                thief.bind((host, int(sys.argv[1])))
                thief.listen()
            except OSError:
                continue
            print("had", host, reuse)
"""


@contextmanager
def squatting(port: int, *hosts: str) -> Iterator[Callable[[], str]]:
    """Listen as somebody else; yield what ends that, and returns what was said: a line for each connection."""
    with subprocess.Popen(
        [*HOSTILE, SQUAT, str(port), *hosts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as squatter:
        assert squatter.stdout
        assert squatter.stdout.readline() == "listens\n"

        def end() -> str:
            with suppress(ValueError):
                return squatter.communicate()[0]
            return ""

        try:
            yield end
        finally:
            end()


def is_free(port: int) -> bool:
    """Whether anybody could listen there."""
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def listens(monitor: Monitor) -> int:
    """Wait until the store listens; return its process id."""
    until(lambda: "the store listens" in monitor.log(), "it listens")
    return child(monitor)


def unit_rights() -> list[str]:
    """Return the command that runs another with the capabilities of the unit."""
    left = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", UNIT.read_text())
    assert left
    only = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in left[1].split())])
    return ["setpriv", f"--bounding-set={only}", "--no-new-privs"]


def test_it_has_a_user_of_its_own_and_no_rights(start_both: StartBoth, folder: Path) -> None:
    monitor = start_both(free_port())
    store = listens(monitor)
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
        return bool(requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=9).json())

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


def test_the_address_is_never_free(start_both: StartBoth, stack: ExitStack) -> None:
    """While the store is killed again and again, another user tries to listen there, in every way."""
    port = free_port()
    monitor = start_both(port)
    listens(monitor)
    numbers, ended, had = [], threading.Event(), []

    def steal() -> None:
        while not ended.is_set():
            done = subprocess.run([*HOSTILE, STEAL, str(port)], capture_output=True, text=True, check=True)
            had.append(done.stdout)

    thief = threading.Thread(target=steal)
    thief.start()
    try:
        for _ in range(3):
            os.kill(until(lambda: child(monitor), "a store"), signal.SIGKILL)
            numbers.append(cross(stack))
            tried = len(had)
            until(lambda tried=tried: len(had) > tried + 3, "tries to steal it")  # type: ignore[misc]
        until(lambda: has(port, *numbers), "all alerts in the store")
    finally:
        ended.set()
        thief.join()
    print(f"{len(had)} times 6 tries to have the address")
    assert set(had) == {""}
    assert monitor.stop() == 0
    assert monitor.counters()["given_up"] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_who_was_there_first_gets_nothing(start_both: StartBoth, stack: ExitStack, host: str) -> None:
    port = free_port()
    with squatting(port, host) as end:
        monitor = start_both(port, delivery={"retry_max": "500ms"}, http={"token": TOKEN})
        number = cross(stack)
        until(lambda: f"local_port={number} " in monitor.log(), "the alert in the log")
        until(lambda: "delivery to http failed: not sent, " in monitor.log(), "a try")
        assert re.search(
            rf"held by pid \d+ \('python3'\) of user {pwd.getpwnam('daemon').pw_name}", monitor.log()
        )
        assert end() == ""
    until(lambda: has(port, number), "the alert in the store")
    assert monitor.stop() == 0
    assert monitor.counters()["store_address_taken"] > 0
    assert monitor.counters()["given_up"] == 0


def test_a_store_beside_the_monitor_needs_words(
    start_both: StartBoth, stack: ExitStack, folder: Path
) -> None:
    """With the address taken from the monitor's settings the url is anybody's, which is what its owner wants."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as another:
        start_both(port, store={"listen": ""})
        cross(stack)
        another.settimeout(30)
        with another.accept()[0] as asked:
            assert asked.recv(4096).startswith(b"GET /alert?")


def tls(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a store with a certificate, and of who trusts it."""
    authority, chain = trustme.CA(), folder / "chain.pem"
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(chain)
    return {"tls_cert": str(chain), "tls_key": str(chain)}, {"ca_file": str(folder / "ca.pem")}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_listens_where_else_the_name_leads_gets_nothing(
    start_both: StartBoth, stack: ExitStack, folder: Path, scheme: str
) -> None:
    port = free_port()
    hosts = folder / "hosts"
    hosts.write_text("::1 localhost\n127.0.0.1 localhost\n")  # the squatter's first
    over = ["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    of_store, of_http = tls(folder) if scheme == "https" else ({}, {})
    of_store |= {"listen": f"127.0.0.1:{port}", "database": f"sqlite:///{folder}/store/alerts.sqlite"}
    with squatting(port, "::1", "127.0.0.2") as end:
        url = f"{scheme}://localhost:{port}/alert"
        monitor = start_both(port, before=over, url=url, store=of_store, http=of_http)
        cross(stack)
        assert monitor.stop() == 0
        assert monitor.counters()["delivered"] > 0
        assert end() == ""


def test_no_proxy_is_asked(start_both: StartBoth, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    port, proxy = free_port(), free_port()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
    with squatting(proxy, "127.0.0.1") as end:
        monitor = start_both(port)
        cross(stack)
        assert monitor.stop() == 0
        assert monitor.counters()["delivered"] > 0
        assert end() == ""


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
