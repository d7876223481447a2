# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store as a process of its own, and what it is told and asked by HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from sockbpf.settings.store import StoreSettings as Settings
from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until

TOKEN = "a-token-of-the-tests"


@dataclass
class Store:
    """A running `sockbpf store`."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    config: Path
    token: str = ""
    trusted: str | bool = True
    """Whose certificate it shows: the file of an authority, or True for one of the system's."""

    @property
    def headers(self) -> dict[str, str]:
        """What who knows the token sends."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_healthy(self) -> None:
        def healthy() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"the store exited {self.process.returncode}:\n{self.log()}")
            try:
                return requests.get(f"{self.url}/healthz", timeout=5, verify=self.trusted).status_code == 200
            except requests.RequestException:
                return False

        until(healthy, lambda: f"the store answers:\n{self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


def start_store(
    folder: Path,
    database: str,
    *,
    healthy: bool = True,
    log: Any = None,
    trusted: str | bool = True,
    **settings: Any,
) -> Store:
    """Start a store with its files in `folder`; settings are those of `store:`, and `history`.

    Where it speaks TLS, `trusted` is the file of the authority that its certificate is of.
    """
    folder.mkdir(exist_ok=True)
    port = settings.pop("port", 0) or free_port()
    config, log_file = folder / "config.yaml", folder / "store.log"
    history = settings.pop("history", {})
    store = {"listen": f"127.0.0.1:{port}", "database": database, "user": "root", "keep": 0} | settings
    written = {"url": f"http://127.0.0.1:{port}/alert", "store": store, "history": history}
    config.write_text(yaml.safe_dump(written))
    with log_file.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "sockbpf", "store", "-c", str(config)], stdout=sink, stderr=log or sink
        )
    scheme = "https" if "tls_cert" in settings else "http"
    token = settings.get("token", "")
    known = token if isinstance(token, str) else ""
    made = Store(f"{scheme}://127.0.0.1:{port}", process, log_file, config, known, trusted)
    if healthy:
        made.wait_healthy()
    return made


def engine_url(database: str) -> str:
    """Return the URL of a database as an engine takes it."""
    return Settings(database=database).database


def database_of_store(store: Store) -> str:
    """Return the URL of its database, as an engine takes it."""
    return engine_url(yaml.safe_load(store.config.read_text())["store"]["database"])


def tell(store: Store, **parameters: str) -> requests.Response:
    """Send an alert as the monitor does."""
    return requests.get(
        f"{store.url}/alert",
        params=parameters,
        headers=store.headers,
        timeout=DEADLINE_S,
        verify=store.trusted,
    )


def post(store: Store, body: object) -> None:
    answer = requests.post(
        f"{store.url}/store.json", json=body, headers=store.headers, timeout=DEADLINE_S, verify=store.trusted
    )
    assert answer.status_code == 201, answer.text


def find(store: Store, path: str = "/store.json", **filters: object) -> list[dict[str, Any]]:
    """Return what is found."""
    texts = {name.rstrip("_"): str(value) for name, value in filters.items()}
    answer = requests.get(
        f"{store.url}{path}", params=texts, headers=store.headers, timeout=DEADLINE_S, verify=store.trusted
    )
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def told(number: int, **changed: object) -> dict[str, str]:
    """Return an alert's parameters as the monitor sends them, another for each number."""
    alert: dict[str, object] = {
        "timestamp": f"{1_795_343_123 + number}.482913",
        "event": "exceeded",
        "protocol": "tcp",
        "local_ip": "192.0.2.1",
        "local_port": 8443,
        "remote_ip": "198.51.100.7",
        "remote_port": 1024 + number % 60_000,
        "type": "RECV",
        "size": 1_048_577 + number,
        "threshold": 1_048_576,
        "peak": 1_048_577 + number,
        "duration": 0,
        "id": f"{number:016x}",
        "seq": number,
        "host": "web1",
        "netns": 4_026_531_833,
        "mode": "ebpf",
        "pid": 4711,
        "comm": "nginx",
    }
    return {name: str(value) for name, value in (alert | changed).items()}
