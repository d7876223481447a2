# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A monitor that has everything to do while an exception is raised in it; the processes that fork such monitors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed, body_of
from tests.live.ports import free_port
from tests.live.receiver import Receiver
from tests.live.sockets import fill, tcp_pair

OWED = 7

OVER = 100_003


@dataclass
class Case:
    """One monitor: its folder, its receiver, its nursery's order."""

    folder: Path
    receiver: Receiver
    mode: str
    """Of its hooks: auto, none; or `store`, which runs one and has it killed."""
    order: dict[str, Any] = field(default_factory=dict)
    pid: int = 0

    @property
    def with_store(self) -> bool:
        return self.mode == "store"

    def prepare(self) -> None:
        self.folder.mkdir()
        self.store_port = free_port()
        self.metrics = f"127.0.0.1:{free_port()}"
        self.write_settings(thresholds={"send": OVER, "recv": OVER})
        journal = Journal(self.folder / "journal")
        journal.write([self._owed(n) for n in range(1, OWED + 1)], [], OWED, OWED)
        journal.close()
        self.order = {
            "argv": [
                "--beside",
                "-c",
                str(self.folder / "config.yaml"),
                "--ready-file",
                str(self.folder / "ready"),
            ],
            "stderr": str(self.folder / "log"),
            "environment": {"RUNTIME_DIRECTORY": str(self.folder.parent / "kept")},
        }

    def write_settings(self, **more: Any) -> None:
        settings = {
            "url": self.receiver.url,
            "kernel": {"hooks": "none" if self.with_store else self.mode},
            "sweep": {"poll": "100ms", "interval": "1s", "recheck": "100ms"},
            "heartbeat": "1s",
            "metrics": {"listen": self.metrics},
            "journal": {"path": str(self.folder / "journal")},
            "delivery": {"workers": 2, "retry_first": "10ms", "retry_max": "50ms"},
            "events": ["exceeded", "ongoing", "cleared"],
            "destinations": [{"type": "file", "path": str(self.folder / "alerts.jsonl")}],
        }
        if self.with_store:
            settings["store"] = {
                "listen": f"127.0.0.1:{self.store_port}",
                "database": f"sqlite:///{self.folder}/store.sqlite",
                "user": "root",
            }
            url = f"http://127.0.0.1:{self.store_port}/alert"
            settings["destinations"] = [{"type": "http", "name": "kept", "url": url}]
        file = self.folder / "config.yaml.new"
        file.write_text(yaml.safe_dump(settings | more))
        file.replace(self.folder / "config.yaml")

    @staticmethod
    def _owed(n: int) -> Owed:
        told = {"timestamp": f"{time.time():.6f}", "event": "exceeded", "id": f"owed{n}", "seq": str(n)}
        told |= {"type": "RECV", "host": "test", "protocol": "tcp", "local_port": "1", "remote_port": "0"}
        return Owed(n, "http", f"owed{n}", time.time(), body_of(told))

    def log(self) -> str:
        with suppress(FileNotFoundError):
            return "".join((self.folder / "log").read_text(errors="replace").rpartition("\n")[:2])
        return ""

    def lost(self, *, in_journal: bool) -> set[str]:
        """Return those of the owed that are neither delivered nor set aside, nor, if that will do, in the journal."""
        owed = {f"owed{n}" for n in range(1, OWED + 1)}
        owed -= {told["id"] for _, told in list(self.receiver.told) if "id" in told}
        if in_journal:
            with closing(Journal(self.folder / "journal")) as journal:
                owed -= {one.episode for one in journal.owed()}
        aside = "".join(line for line in self.log().splitlines() if "set aside: " in line)
        with suppress(FileNotFoundError):  # what could not be read of the journal
            aside += (self.folder / "journal.set-aside").read_text(errors="replace")
        return {one for one in owed if one not in aside}

    def counters(self) -> dict[str, int]:
        lines = [line for line in self.log().splitlines() if " stopped, " in line]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", lines[-1])} if lines else {}

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill_store(self) -> None:
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                is_store = entry.name.isdigit() and b"\0store\0" in (entry / "cmdline").read_bytes()
                if is_store and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == self.pid:
                    os.kill(int(entry.name), signal.SIGKILL)

    def scrape(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5) as answer:
            return b"sockbpf_alerts_total" in answer.read()
        return False

    def keep_busy(self, done: threading.Event) -> None:
        """Ask everything of it that can be asked, again and again."""
        asked = 0
        while not done.wait(0.1):
            if not (self.folder / "ready").exists():
                continue
            asked += 1
            self.scrape()
            if asked % 3 == 2:
                self.kill_store()
            if asked == 3 and not self.with_store:
                destination = {"type": "file", "path": str(self.folder / "more.jsonl"), "name": "more"}
                self.write_settings(
                    thresholds={"send": OVER + 1, "recv": OVER + 1}, destinations=[destination]
                )
                self.signal(signal.SIGHUP)
            if asked % 5 == 4:
                self.signal(signal.SIGUSR1)
            with ExitStack() as stack:  # one that comes and goes
                fill(tcp_pair(stack)[0])
                done.wait(0.3)


class Nursery:
    """One process that forks monitors, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._ended: list[str] = []

    def start(self, order: dict[str, Any]) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self._ended = []
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()
        return pid

    def _wait(self) -> None:
        assert self._process.stdout
        self._ended = self._process.stdout.readline().split()

    def ended(self, seconds: float) -> tuple[int, float] | None:
        """Return the exit code and the Unix time of its end; None if it lives longer than that."""
        self._waiter.join(seconds)
        return (int(self._ended[0]), float(self._ended[1])) if self._ended else None

    def close(self) -> None:
        self._process.kill()
        with self._process:  # its pipes are closed, and it is waited for
            pass


@contextmanager
def busy(case: Case) -> Iterator[None]:
    done = threading.Event()
    thread = threading.Thread(target=case.keep_busy, args=(done,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
