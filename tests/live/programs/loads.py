# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real programs that are well, under full load for a while; each load has servers of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.live.programs.place import LOOPBACK, Place, road
from tests.live.programs.servers import (
    BIG,
    Server,
    asyncio_server,
    dnsmasq,
    nginx,
    postgresql,
    psql,
    redis,
    rsyslog,
    ssh,
    ssh_daemon,
)

ROWS = 1_000_000


@dataclass(frozen=True)
class Load:
    """What a load did; `port` is that of its server."""

    name: str
    port: int
    seconds: float
    work: str


def repeated(seconds: float, once: Callable[[], object]) -> int:
    """Do something again and again until the time is over; return how often it was done."""
    end_s, times = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        once()
        times += 1
    return times


def downloads(place: Place, seconds: float) -> tuple[Server, str]:
    server = nginx(place)
    url = f"http://{LOOPBACK}:{server.port}/big"
    times = repeated(seconds, lambda: place.run("curl", "-s", "-o", "/dev/null", url))
    return server, f"{times} downloads of {BIG // 2**20} MiB"


def slow_downloads(place: Place, seconds: float) -> tuple[Server, str]:
    server, way = nginx(place), road(place)
    way.slow_down("200mbit")
    url = f"http://{way.near_ip}:{server.port}/big"
    times = repeated(seconds, lambda: way.far.run("curl", "-s", "-o", "/dev/null", url))
    return server, f"{times} downloads of {BIG // 2**20} MiB over a link of 200 Mbit/s"


def requests(place: Place, seconds: float) -> tuple[Server, str]:
    server = nginx(place)
    return server, _wrk(place, server, seconds)


def asyncio_requests(place: Place, seconds: float) -> tuple[Server, str]:
    server = asyncio_server(place, "serve")
    return server, _wrk(place, server, seconds)


def _wrk(place: Place, server: Server, seconds: float) -> str:
    url = f"http://{LOOPBACK}:{server.port}/well"
    said = place.run("wrk", "-t2", "-c64", f"-d{seconds:.0f}", url, seconds=seconds + 60)
    return _number(r"(\d+) requests in", said) + " requests by 64 connections"


def copies(place: Place, seconds: float) -> tuple[Server, str]:
    server = postgresql(place)
    rows = f"select i, repeat('x', 100) as a from generate_series(1, {ROWS}) i"
    place.run(
        *psql(server, "-c", f"create unlogged table t as {rows}", "-c", "create unlogged table u (like t)")
    )
    file = server.folder / "rows"

    def both_ways() -> None:
        with_output = " ".join([*psql(server), "-c", "'copy t to stdout'", ">", str(file)])
        place.run("sh", "-c", with_output)
        place.run(*psql(server, "-c", "truncate u", "-c", "copy u from stdin"), stdin=file)

    times = repeated(seconds, both_ways)
    return server, f"{times} times COPY of {ROWS} rows, each way"


def pgbench(place: Place, seconds: float) -> tuple[Server, str]:
    server = postgresql(place)
    where = ("-h", LOOPBACK, "-p", str(server.port), "-U", "postgres")
    place.run("pgbench", *where, "-i", "-q", "-s", "10", "postgres")
    said = place.run("pgbench", *where, "-c", "16", "-T", f"{seconds:.0f}", "postgres", seconds=seconds + 60)
    return server, _number(r"actually processed: (\d+)", said) + " transactions by 16 clients"


def redis_benchmark(place: Place, seconds: float) -> tuple[Server, str]:
    server = redis(place)
    small = ("redis-benchmark", "-p", str(server.port), "-q", "-t", "set,get,lrange_600", "-n", "20000")

    def all_sizes() -> None:
        place.run(*small, "-P", "16")
        place.run(*small, "-d", "100000", "-t", "set,get", "-n", "2000")

    times = repeated(seconds, all_sizes)
    return server, f"{times} times redis-benchmark, pipelines of 16 and values of 100 kB"


def dnsperf(place: Place, seconds: float) -> tuple[Server, str]:
    server = dnsmasq(place)
    questions = server.folder / "questions"
    questions.write_text("".join(f"name{i}.example A\n" for i in range(1009)))
    said = place.run(
        "dnsperf", "-s", LOOPBACK, "-p", str(server.port), "-d", questions, "-l", f"{seconds:.0f}",
        seconds=seconds + 60,
    )  # fmt: skip
    return server, _number(r"Queries completed: +(\d+)", said) + " questions"


def messages(place: Place, seconds: float) -> tuple[Server, str]:
    server = rsyslog(place)
    lines = server.folder / "lines"
    lines.write_text("a line of a log, as programs write them\n" * 30_011)
    to = ("logger", "-n", LOOPBACK, "-P", str(server.port), "-f", lines)

    def burst() -> None:
        for protocol in ("--tcp", "--udp"):
            place.run(*to, protocol)

    return server, f"{repeated(seconds, burst)} bursts of 30011 messages, by TCP and by UDP"


def iperf3(place: Place, seconds: float) -> tuple[Server, str]:
    port = next(place.ports)
    process = place.start("iperf3", "-s", "-B", LOOPBACK, "-p", str(port))
    place.until_open(port)
    done = []
    for streams in ("1", "16"):
        part = ("-t", f"{seconds / 2:.0f}", "-P", streams, "-f", "m")
        said = place.run("iperf3", "-c", LOOPBACK, "-p", str(port), *part, seconds=seconds + 60)
        done.append(re.findall(r"(\d+) Mbits/sec.*receiver", said)[-1])
    return Server("iperf3", port, process, place.folder), f"{done[0]} Mbit/s by 1 stream, {done[1]} by 16"


def remote_files(place: Place, seconds: float) -> tuple[Server, str]:
    server = ssh_daemon(place)
    line = " ".join(ssh(server, f"'head -c {BIG} /dev/zero'")) + " > /dev/null"
    times = repeated(seconds, lambda: place.run("sh", "-c", line))
    return server, f"{times} files of {BIG // 2**20} MiB"


def _number(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    assert found, said
    return found[1]


ALL = {
    "nginx, downloads by curl": downloads,
    "nginx, downloads over a slow link": slow_downloads,
    "nginx, wrk": requests,
    "PostgreSQL, COPY both ways": copies,
    "PostgreSQL, pgbench": pgbench,
    "redis": redis_benchmark,
    "dnsmasq, dnsperf": dnsperf,
    "rsyslog, logger": messages,
    "asyncio, wrk": asyncio_requests,
    "iperf3": iperf3,
    "ssh, files": remote_files,
}
"""Each works for so many seconds at the least, and returns its server and what was done."""


def run(name: str, place: Place, seconds: float) -> Load:
    """Put a load on a program; end the program."""
    begun_s = time.monotonic()
    server, work = ALL[name](place, seconds)
    return Load(name, server.port, time.monotonic() - begun_s, work)
