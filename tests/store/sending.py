# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Clients that send hostile or honest requests to a store, and what they note of its answers."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from tests.store.hostile import MARK, Hostile, honest, requests_of
from tests.store.serving import Store
from tests.store.talking import Answer, Talk

CLIENTS = 24
MEANT = {200, 201, 400, 401, 403, 404, 405, 408, 413, 414, 415, 416, 421, 422, 431}
"""What a hostile request may be answered. Not 500; nor 503, for the store is well."""


@dataclass
class Seen:
    """What came of the hostile requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    let_go: int = 0
    faults: list[str] = field(default_factory=list)

    def judge(self, hostile: Hostile, answer: Answer | None) -> None:
        if answer is None:
            self.let_go += 1
            return
        self.statuses[answer.status] += 1
        kind = answer.headers.get("content-type", "")
        faults = {
            "status": answer.status not in MEANT,
            "traceback": b"Traceback" in answer.body or b'File "' in answer.body,
            "echo": answer.status >= 400 and MARK.encode() in answer.body,
            "html": kind.startswith("text/html") and MARK.encode() in answer.body,
            "header": "x-injected" in answer.headers,
            "guard": answer.status not in {400, 431}
            and ("default-src 'none'" not in answer.headers.get("content-security-policy", "")
                 or answer.headers.get("x-content-type-options") != "nosniff"),
        }  # fmt: skip
        said = [name for name, is_fault in faults.items() if is_fault]
        if said:
            self.faults.append(f"{said} {answer.status} {kind} {hostile.sent[:300]!r}: {answer.body[:200]!r}")

    def send_all(self, url: str, queue: SimpleQueue[Hostile]) -> None:
        talk: Talk | None = None
        while True:
            try:
                hostile = queue.get_nowait()
            except Empty:
                break
            talk = talk or Talk(url)
            if not self._send(talk, hostile) or not hostile.goes_on:
                talk.__exit__(None, None, None)
                talk = None
        if talk:
            talk.__exit__(None, None, None)

    def _send(self, talk: Talk, hostile: Hostile) -> bool:
        """Send it, read what comes; return whether the connection is open still."""
        method = hostile.sent[:9].partition(b" ")[0].decode("latin-1")
        try:
            talk.send(hostile.sent)
            for _ in range(hostile.answers):
                answer = talk.answer(method)
                self.judge(hostile, answer)
                if answer is None or answer.headers.get("connection") == "close":
                    return False
        except TimeoutError:
            self.faults.append(f"neither answered nor let go: {hostile.sent[:300]!r}")
            return False
        except OSError:
            self.let_go += 1
            return False
        return True


def descriptors(store: Store) -> int:
    return len(os.listdir(f"/proc/{store.process.pid}/fd"))


def sockets(store: Store) -> int:
    """Return how many it has; the others of its descriptors are the database's, made when they are needed."""
    folder = f"/proc/{store.process.pid}/fd"
    kinds = []
    for name in os.listdir(folder):
        with suppress(OSError):
            kinds.append(os.readlink(f"{folder}/{name}"))
    return sum(kind.startswith("socket:") for kind in kinds)


def send_hostile(store: Store, seed: int, count: int) -> Seen:
    seen = Seen()
    queue: SimpleQueue[Hostile] = SimpleQueue()
    for hostile in requests_of(seed, count):
        queue.put(hostile)
    threads = [threading.Thread(target=seen.send_all, args=(store.url, queue)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert not any(thread.is_alive() for thread in threads)
    return seen


def send_honest(store: Store, numbers: range) -> list[float]:
    """Send alerts on one connection; return how long each answer took, seconds."""
    took_s = []
    with Talk(store.url) as talk:
        for number in numbers:
            begun = time.monotonic()
            talk.send(honest(number))
            answer = talk.answer()
            took_s.append(time.monotonic() - begun)
            assert answer
            assert (answer.status, answer.body) == (200, b'{"new":true}')
    return took_s
