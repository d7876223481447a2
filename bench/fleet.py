# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a store takes of thousands of hosts, each with an address of its own: a heartbeat a minute, over TLS.

One process plays all the hosts, in a network namespace that has a network of addresses. A host keeps its connection,
as a monitor does, and makes another one where the store has closed it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode, urlsplit

import requests
import trustme

from bench.figure import Figure, percentile
from bench.resident import cpu_s
from sockbpf.counters import NAMES
from sockbpf.kernel.look.netns import inside
from tests.live.network import ip, namespace
from tests.live.ports import free_port
from tests.store.serving import TOKEN, Store, start_store
from tests.store.talking import memory_mib

HOSTS, BEAT_S, SECONDS = 5000, 60.0, 90.0
QUICK_HOSTS, QUICK_BEAT_S, QUICK_SECONDS = 50, 1.0, 2.0
ANSWER_S = 15.0
NEAR, FAR, NETWORK = "198.18.0.1", "198.18.0.2", "198.19.0.0/16"
ABOUT = {"version": "1", "kernel": "6.1.0", "mode": "ebpf", "unseen": "", "repeat": "60.0"}


@dataclass
class Tally:
    """What became of the heartbeats."""

    answered_s: list[float] = field(default_factory=list)
    failed: int = 0
    connections: int = 0


@dataclass(frozen=True)
class Fleet:
    """What all hosts have in common."""

    beat_s: float
    ends_s: float
    """Monotonic time after which no heartbeat is told."""
    url: str
    context: ssl.SSLContext


@contextmanager
def far_away() -> Iterator[str]:
    """Make a network namespace to which all addresses of NETWORK lead; yield its name."""
    with namespace() as name:
        ip("link", "add", "bench-near", "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", f"{NEAR}/30", "dev", "bench-near")
        ip("link", "set", "bench-near", "up")
        ip("-n", name, "addr", "add", f"{FAR}/30", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        ip("-n", name, "route", "add", "local", NETWORK, "dev", "lo")
        ip("route", "add", NETWORK, "via", FAR)
        yield name  # the devices, and the route, end with the namespace


async def play(hosts: int, beat_s: float, seconds: float, url: str, authority: str) -> Tally:
    """Have so many hosts tell their heartbeats for so long."""
    tally = Tally()
    context = ssl.create_default_context(cafile=authority)
    fleet = Fleet(beat_s, time.monotonic() + seconds, url, context)
    await asyncio.gather(*(_host(number, fleet, tally) for number in range(hosts)))
    return tally


async def _host(number: int, fleet: Fleet, tally: Tally) -> None:
    at = urlsplit(fleet.url)
    address = f"198.19.{number >> 8}.{number & 255}"
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    due_s = time.monotonic() + random.random() * fleet.beat_s
    while due_s < fleet.ends_s:
        await asyncio.sleep(due_s - time.monotonic())
        begun_s = time.monotonic()
        if streams and (streams[0].at_eof() or streams[0].exception()):
            streams[1].close()
            streams = None
        try:
            if streams is None:
                opened = asyncio.open_connection(
                    at.hostname, at.port, ssl=fleet.context, local_addr=(address, 0)
                )
                streams = await asyncio.wait_for(opened, ANSWER_S)
                tally.connections += 1
            streams[1].write(_request(number, fleet.beat_s, at.netloc))
            head = await asyncio.wait_for(streams[0].readuntil(b"\r\n\r\n"), ANSWER_S)
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await streams[0].readexactly(int(length.partition(b":")[2]))
            assert b" 200 " in head.partition(b"\r\n")[0], head
            tally.answered_s.append(time.monotonic() - begun_s)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            tally.failed += 1
            streams = None
        due_s += fleet.beat_s
    if streams:
        streams[1].close()


def _request(number: int, beat_s: float, netloc: str) -> bytes:
    told = {"event": "heartbeat", "timestamp": f"{time.time():.6f}", "host": f"host{number}", "seq": "7"}
    told |= {"run": f"{number:016x}", "heartbeat": str(beat_s)} | ABOUT | dict.fromkeys(NAMES, "12")
    head = f"GET /alert?{urlencode(told)} HTTP/1.1\r\nHost: {netloc}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    return head.encode()


def _started(folder: Path) -> Store:
    authority = trustme.CA()
    leaf = authority.issue_cert(NEAR, "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    port = free_port()
    return start_store(
        folder / "store",
        f"sqlite:///{folder}/store/alerts.sqlite",
        port=port,
        listen=f"0.0.0.0:{port}",
        token=TOKEN,
        trusted=str(folder / "authority.pem"),
        tls_cert=str(folder / "cert.pem"),
        tls_key=str(folder / "key.pem"),
    )


def measure(*, quick: bool) -> list[Figure]:
    """Return how soon the heartbeats of a fleet are answered, and what they cost the store."""
    hosts, beat_s, seconds = (QUICK_HOSTS, QUICK_BEAT_S, QUICK_SECONDS) if quick else (HOSTS, BEAT_S, SECONDS)
    with TemporaryDirectory() as folder, far_away() as name:
        store = _started(Path(folder))
        try:
            url = store.url.replace("127.0.0.1", NEAR)
            before_s = cpu_s(store.process.pid)
            with inside(f"/run/netns/{name}"):
                tally = asyncio.run(play(hosts, beat_s, seconds, url, str(store.trusted)))
            used_s, memory = cpu_s(store.process.pid) - before_s, memory_mib(store.process.pid)
            asked = {"headers": store.headers, "verify": store.trusted, "timeout": 9}
            counts = requests.get(f"{store.url}/hosts?limit=1", **asked).json()["counts"]  # type: ignore[arg-type]
        finally:
            store.stop()
        size = Path(folder, "store", "alerts.sqlite").stat().st_size
    answered_ms = [1000 * each for each in tally.answered_s]
    of = f"{hosts} hosts, a heartbeat each {beat_s:g} s, TLS"
    missing = hosts - counts["heard"]
    note = (
        f"p50 {percentile(answered_ms, 0.5):.0f}; {len(answered_ms)} answered, {tally.failed} failed, "
        f"{tally.connections} connections; {missing} of the hosts are silent"
    )
    return [
        Figure(f"{of}: answered, p99", "ms", (percentile(answered_ms, 0.99),), note=note),
        Figure(
            f"{of}: the store's share of a core", "%", (100 * used_s / seconds,), note=f"{memory:.0f} MiB"
        ),
        Figure(f"{of}: room in the database, of each", "kB", (size / len(answered_ms) / 1000,)),
    ]
