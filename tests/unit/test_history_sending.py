# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor's history: one store does not hold up another, and nothing of it ends the process."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sockbpf.counters import Counters
from sockbpf.delivery.destinations.history_post import bodies_of
from sockbpf.judge.services import Service
from sockbpf.monitor import history
from sockbpf.monitor.history import History
from sockbpf.monitor.history_push import HistoryPush
from sockbpf.monitor.service_looks import ServiceLooks
from sockbpf.monitor.store_port import StorePort
from sockbpf.process.life import NoThreadError, Pulse
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.history import Sample, Series
from sockbpf.settings.config import Config

AT_S = 1_795_343_120


@dataclass
class Server:
    """A store that takes so long for each request, and which services it was told of."""

    url: str
    takes_s: float = 0.0
    got: list[str] = field(default_factory=list)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made: dict[int, Server] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            store = made[self.server.server_address[1]]  # type: ignore[index]
            lines = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))).splitlines()
            time.sleep(store.takes_s)
            store.got += [json.loads(line)["service"] for line in lines]
            answer = b'{"samples":1,"refused":[],"too_old":0}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    listening = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for each in listening:
        made[each.server_port] = Server(f"http://127.0.0.1:{each.server_port}")
        threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
    yield list(made.values())
    for each in listening:
        each.shutdown()
        each.server_close()


def config_of(*urls: str) -> Config:
    stores = [
        {"type": "store", "name": f"store{place}", "url": url, "token": "s3cret-token"}
        for place, url in enumerate(urls)
    ]
    return Config.model_validate({"url": "http://192.0.2.1/alert", "destinations": stores})


def history_of(config: Config) -> History:
    looks = ServiceLooks(None, (), lambda _: None, Counters())  # type: ignore[arg-type]
    made = History(config, Counters(), StorePort(config.store), looks)
    made.use(config)
    return made


def full() -> Service:
    made = Service()
    made.kinds[Protocol.TCP, Direction.RECV].add(500, 500, 1000)
    return made


def test_a_slow_store_holds_up_neither_the_others_nor_what_is_seen(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = servers
    slow.takes_s = 0.05
    monkeypatch.setattr(history, "TURN_S", 0.2)
    made = history_of(config_of(slow.url, quick.url))
    made._change()
    for number in range(50):
        series = Series("web1", f"s{number}", "tcp", "RECV")
        made._pushes[0].add(bodies_of({series: {AT_S: Sample(1, 1, 1, 0)}}))
    made._recorder.record({"new.service": full()}, AT_S, 0)
    made._due_s = time.monotonic()
    made._tell(lambda: None)
    assert quick.got == ["new.service"]
    before = len(slow.got)
    assert 0 < before < 10
    made._tell(lambda: None)
    assert len(slow.got) > before, "it goes on in its next turn"
    for push in made._pushes:
        push.close()


def test_an_exception_at_the_very_end_passes(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: HistoryPush) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(HistoryPush, "close", fails)
    made = history_of(config_of(*(each.url for each in servers)))
    made._recorder.record({"new.service": full()}, time.time(), 0)
    made._ends.set()
    made._send(Pulse("history-sending"))
    assert [each.got for each in servers] == [["new.service"]] * 2, "of the running step too"
    assert made._counters.snapshot()["history_lost"] == 2


def test_threads_are_started_once_though_one_could_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def start_thread(name: str, *_: object, **__: object) -> threading.Thread:
        started.append(name)
        if started == ["history", "history-sending"]:
            raise NoThreadError(name)
        return threading.current_thread()

    monkeypatch.setattr(history, "start_thread", start_thread)
    config = config_of("http://192.0.2.1")
    made = history_of(config)
    with pytest.raises(NoThreadError):
        made.start_if_wanted(config)
    for _ in range(2):
        made.start_if_wanted(config)
    assert started == ["history", "history-sending", "history-sending"]
