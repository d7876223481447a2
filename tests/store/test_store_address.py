# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Nobody but the store gets what is for it: not who was there first, nor who waits until its address is free.

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
import trustme

from tests.live.ports import free_port
from tests.live.waiting import until
from tests.store.both import StartBoth, child, cross, has, listens

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
        until(lambda: monitor.counted()["delivered"] > 0, "a delivery: a stop waits for 3 s of them alone")
        assert monitor.stop() == 0
        assert end() == ""


def test_no_proxy_is_asked(start_both: StartBoth, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    port, proxy = free_port(), free_port()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
    with squatting(proxy, "127.0.0.1") as end:
        monitor = start_both(port)
        cross(stack)
        until(lambda: monitor.counted()["delivered"] > 0, "a delivery: a stop waits for 3 s of them alone")
        assert monitor.stop() == 0
        assert end() == ""
