# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The server of the database has a full disk, or hangs: the store says so in time, and loses nothing that it took."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import pytest
import requests

from tests.live.journal_disks import fill, mount
from tests.live.ports import free_port
from tests.live.waiting import until
from tests.store.asking import everything
from tests.store.conftest import SERVERS, StartStore, only_for_today
from tests.store.servers import STARTS, ClickHouse, MySQL, make_mysql, new_database
from tests.store.serving import Store, told

ROWS = 500
"""Alerts of one request."""
SIZE = "320m"
"""Of the disk: MariaDB's files take more than half of it."""
MOST = 400
"""Requests that a disk with no room left may still take: there is some in files that were made before."""
IN_TIME_S = 40.0
"""Each request is answered by then, whatever the server does."""


@pytest.fixture
def disk() -> Iterator[Path]:
    """Make a disk of its own, in memory."""
    with ExitStack() as stack:
        folder = Path(mkdtemp(prefix="sockbpf-disk-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        mount(stack, folder, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs")
        yield folder


class Sending:
    """Sends alerts, each request again until it is taken."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.taken: set[int] = set()
        self._numbers = count()
        self._owed: list[int] = []

    def once(self) -> requests.Response:
        self._owed = self._owed or [next(self._numbers) for _ in range(ROWS)]
        body = "\n".join(json.dumps(told(number, id=f"{number // 2:x}")) for number in self._owed)
        begun_s = time.monotonic()
        answer = requests.post(f"{self.store.url}/alerts", data=body, timeout=2 * IN_TIME_S)
        assert time.monotonic() - begun_s < IN_TIME_S
        assert answer.status_code in {200, 429, 503}, answer.text
        if answer.status_code == 200:
            self.taken |= set(self._owed)
            self._owed = []
        return answer

    def until_taken(self) -> None:
        until(lambda: self.once().status_code == 200, "alerts are taken")

    def until_refused(self) -> None:
        """Send until a request is refused, with when to try again; assert that the reason is no riddle."""
        for _ in range(MOST):
            answer = self.once()
            if answer.status_code == 503:
                assert float(answer.headers["Retry-After"]) > 0
                assert answer.text.strip()
                print(f"after {len(self.taken)} alerts: {answer.text.strip()}")
                return
        pytest.fail(f"{len(self.taken)} alerts were taken")


@pytest.fixture(params=STARTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    only_for_today(request, kind, SERVERS)
    return kind


@pytest.fixture
def server(kind: str, disk: Path) -> Iterator[ClickHouse | MySQL]:
    if kind == "mysql":
        make_mysql(disk)
    running = STARTS[kind](disk, free_port())
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.timeout(240)
def test_a_full_disk_and_a_server_that_hangs(
    start: StartStore, kind: str, server: ClickHouse | MySQL, disk: Path
) -> None:
    store = start(new_database(server.url))
    sending = Sending(store)
    sending.until_taken()

    filler = disk / "filler"
    fill(filler)
    sending.until_refused()
    filler.unlink()
    if kind == "clickhouse":
        assert "the disk of the database is full" in store.log()
    if server.process.poll() is not None:  # MariaDB ends if it cannot write its log
        server.process = STARTS[kind](disk, int(server.url.rpartition(":")[2])).process
    sending.until_taken()

    server.process.send_signal(signal.SIGSTOP)
    try:
        sending.until_refused()
    finally:
        server.process.send_signal(signal.SIGCONT)
    sending.until_taken()

    kept = Counter(alert["seq"] for alert in everything(store))
    assert set(kept) == sending.taken
    assert kept.total() == len(kept), "none is there twice"
    assert "Traceback" not in store.log()
    store.stop()
