# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Thousands of connections of another user keep no alert out, on a connection that was there or on a new one.

`--store-crowd 10000` says how many that user opens at once.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from bench.figure import percentile
from sockbpf.store.web.crowd import MOST_OTHERS
from tests.live.waiting import until
from tests.store.conftest import StartStore
from tests.store.hostile import honest
from tests.store.serving import Store, find
from tests.store.talking import Talk, as_user

HOSTILE = pwd.getpwnam("daemon")
LIMITED = """if True:
    import os, resource, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
    os.execv(sys.executable, [sys.executable, '-m', 'sockbpf', 'store', '-c', sys.argv[1]])
"""
LEAST = 150
"""Alerts that are sent while it is crowded."""
FEW_FILES, AT_ONCE = 1009, 397
"""So few descriptors are 303 places for root, and a line of 101."""


@contextmanager
def crowd(store: Store, count: int, kind: str, tmp_path: Path) -> Iterator[None]:
    """Have another user open so many connections, and go on."""
    script = Path("/var/tmp") / f"crowding-{os.getpid()}.py"
    shutil.copy(Path(__file__).with_name("crowding.py"), script)
    script.chmod(0o644)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    process = subprocess.Popen(
        ["/usr/bin/python3", "-I", str(script), str(urlsplit(store.url).port), str(count), kind],
        user=HOSTILE.pw_uid,
        group=HOSTILE.pw_gid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        yield
        assert process.stdout.readline() == b"full\n"
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
        script.unlink()


def counter(store: Store, name: str) -> int:
    lines = requests.get(f"{store.url}/metrics", timeout=9, verify=store.trusted).text.splitlines()
    return int(float(next(line for line in lines if line.startswith(f"sockbpf_store_{name}")).split()[1]))


def is_crowded(store: Store) -> bool:
    """Whether all places of other users are taken, or were."""
    return counter(store, "connections") > MOST_OTHERS or counter(store, "shed_total") > 100


def limited(store: Store, files: int) -> None:
    """Start a store again, with so few descriptors."""
    assert store.stop() == 0
    with store.log_file.open("ab") as sink:
        store.process = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(store.config), str(files)], stdout=sink, stderr=sink
        )
    store.wait_healthy()


def files(store: Store) -> int:
    return len(os.listdir(f"/proc/{store.process.pid}/fd"))


@pytest.mark.parametrize("kind", ["idle", "half", "slow", "stream", "body"])
def test_no_alert_is_kept_out(
    start: StartStore,
    database_of: Callable[[str], str],
    tmp_path: Path,
    kind: str,
    pytestconfig: pytest.Config,
) -> None:
    store = start(database_of("sqlite"))
    count = int(pytestconfig.getoption("--store-crowd"))
    took_s: list[float] = []
    most_files = 0
    if kind == "slow":
        large = [{"text": "x" * 100_000}] * 50
        assert requests.post(f"{store.url}/store.json", json=large, timeout=30).ok

    def send(talk: Talk) -> None:
        begun_s = time.monotonic()
        talk.send(honest(len(took_s)))
        answer = talk.answer()
        took_s.append(time.monotonic() - begun_s)
        assert answer
        assert (answer.status, answer.body) == (200, b'{"new":true}')

    with Talk(store.url) as old:
        send(old)
        with ExitStack() as stack:
            stack.enter_context(crowd(store, count, kind, tmp_path))

            def crowded() -> bool:
                nonlocal most_files
                send(old)
                if len(took_s) % 10 == 0:
                    with Talk(store.url) as new:
                        send(new)
                most_files = max(most_files, files(store))
                is_full = kind in {"stream", "slow"} or is_crowded(store)
                return is_full and len(took_s) > LEAST

            until(crowded, lambda: f"{len(took_s)} sent, {files(store)} files", 200)
        send(old)
    print(
        f"{count} {kind}: {len(took_s)} alerts, p50 {percentile(took_s, 0.5) * 1e3:.1f} ms, "
        f"p99 {percentile(took_s, 0.99) * 1e3:.0f} ms, max {max(took_s) * 1e3:.0f} ms; {most_files} files at most; "
        f"{counter(store, 'shed_total')} shed, {counter(store, 'turned_away_total')} turned away"
    )
    assert len(find(store, host="honest", limit=1000)) == min(1000, len(took_s))
    assert counter(store, "refused_total") == 0
    assert "Traceback" not in store.log()
    assert "Too many open files" not in store.log()
    assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 200


@pytest.mark.parametrize(("speaks_tls", "kind"), [(False, "idle"), (True, "idle"), (True, "hello")])
def test_few_descriptors_are_enough(
    tmp_path: Path,
    start: StartStore,
    database_of: Callable[[str], str],
    tls: dict[str, str],
    pytestconfig: pytest.Config,
    *,
    speaks_tls: bool,
    kind: str,
) -> None:
    """Far more connections than descriptors, none of which asks, or with TLS even ends its handshake."""
    count = int(pytestconfig.getoption("--store-crowd"))
    store = start(database_of("sqlite"), **(tls if speaks_tls else {}))
    limited(store, 256)
    sent = most_files = 0

    def send(talk: Talk) -> None:
        nonlocal sent, most_files
        talk.send(honest(sent))
        answer = talk.answer()
        assert answer
        assert (answer.status, answer.body) == (200, b'{"new":true}')
        sent += 1
        most_files = max(most_files, files(store))

    def are_too_many() -> bool:
        send(old)
        with Talk(store.url, trusted=store.trusted) as new:
            send(new)
        return sent > LEAST and closed() > count // 2

    def closed() -> int:
        return counter(store, "shed_total") + counter(store, "turned_away_total")

    with Talk(store.url, trusted=store.trusted) as old, crowd(store, count, kind, tmp_path):
        until(are_too_many, lambda: f"{sent} sent, {most_files} files", 120)
        assert len(find(store, host="honest", limit=1000)) == min(sent, 1000)
    print(f"{count} {kind}: {sent} sent, {most_files} files at most, {closed()} closed")
    assert most_files < 256
    assert "Too many open files" not in store.log()
    assert "Traceback" not in store.log()


@pytest.mark.parametrize("speaks_tls", [False, True])
def test_who_leaves_frees_the_places(
    start: StartStore, database_of: Callable[[str], str], tls: dict[str, str], *, speaks_tls: bool
) -> None:
    """Those of streams, and of connections, also of those whose handshake has not ended."""
    store = start(database_of("sqlite"), **(tls if speaks_tls else {}))
    with ExitStack() as stack:
        for _ in range(7):
            listener = stack.enter_context(Talk(store.url, trusted=store.trusted))
            listener.send(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = listener.answer()
            assert answer
            assert answer.status == 200
        for _ in range(13):
            stack.enter_context(Talk(store.url.replace("https", "http")))
        until(
            lambda: (counter(store, "listeners"), counter(store, "connections")) == (7, 7 + 13 + 1),
            "all have a place",
        )
    until(
        lambda: (counter(store, "listeners"), counter(store, "connections")) == (0, 1), "all places are free"
    )


def test_one_user_does_not_push_out_another(
    start: StartStore, database_of: Callable[[str], str], tmp_path: Path
) -> None:
    """Who is neither the monitor nor many keeps a connection that was quiet all the while."""
    store = start(database_of("sqlite"))
    with as_user(pwd.getpwnam("nobody").pw_uid):
        quiet = Talk(store.url)
    with quiet, crowd(store, 1100, "idle", tmp_path):
        until(lambda: is_crowded(store), "it is crowded")
        quiet.send(honest(1))
        answer = quiet.answer()
        assert answer
        assert answer.status == 200


@pytest.mark.parametrize("speaks_tls", [False, True])
def test_who_comes_at_once_is_answered_once(
    start: StartStore, database_of: Callable[[str], str], tls: dict[str, str], *, speaks_tls: bool
) -> None:
    """More clients than places, each with one alert: none is refused or broken off, so that it had to come again."""
    store = start(database_of("sqlite"), **(tls if speaks_tls else {}))
    limited(store, FEW_FILES)
    trusted = str(store.trusted)
    context = ssl.create_default_context(cafile=trusted) if speaks_tls else None
    at = urlsplit(store.url)

    async def tell(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(at.hostname, at.port, ssl=context)
        writer.write(honest(number))
        answer = await reader.readuntil(b'{"new":true}')
        writer.transport.abort()
        return answer

    async def all_at_once() -> list[bytes]:
        return await asyncio.wait_for(asyncio.gather(*map(tell, range(AT_ONCE))), 60)

    assert all(b" 200 OK\r\n" in answer for answer in asyncio.run(all_at_once()))
    assert counter(store, "turned_away_total") == 0
