# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""For a newcomer: a receiver, the monitor with low thresholds, a reader that is stopped; the alert arrives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rich.console import Console
from rich.table import Table

from sockbpf.errors import SockbpfError
from sockbpf.kernel.attach.arm import need_root
from sockbpf.kernel.build.compiler import PATIENCE_S
from sockbpf.process.isolated import command as isolated
from sockbpf.record.alert import CLEARED, EXCEEDED
from sockbpf.record.text import sentence

THRESHOLD = 32 * 1024
STALL = 50_000  # less than the window of a fresh connection: all of it reaches the reader's queue
ALERT_S = 10
ARMED_S = PATIENCE_S + 60
"""How long the monitor may take to arm: what its compiler may take, as on an old kernel under emulation, and more."""
SILENT_S = 5
"""After so long the demo says what it waits for."""

CONFIG = """\
url: http://127.0.0.1:{port}/alert
thresholds: {{send: {threshold}, recv: {threshold}}}
events: [exceeded, ongoing, cleared]
journal: {{path: none}}
"""

READER = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as accepted:
    while accepted.recv(1 << 16):
        pass
"""

NEXT = """\
   what to do about an alert: docs/runbook.md, by its cause
   to watch this host: sudo sockbpf -c config.yaml"""

Parameters = dict[str, str]
"""The query of one request: an alert."""


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    alerts: SimpleQueue[Parameters]

    def do_GET(self) -> None:
        self.alerts.put(dict(parse_qsl(urlsplit(self.path).query)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing: the demo shows the alerts itself."""


def demo() -> int:
    """Show an alert arrive and clear; return 0 when it did."""
    need_root()
    out = Console()
    alerts: SimpleQueue[Parameters] = SimpleQueue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Receiver", (_Receiver,), {"alerts": alerts}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="sockbpf-demo-") as folder:
        config, ready = Path(folder, "config.yaml"), Path(folder, "ready")
        config.write_text(CONFIG.format(port=server.server_port, threshold=THRESHOLD))
        out.print(f"[bold]1.[/] a receiver listens on http://127.0.0.1:{server.server_port}/alert")
        monitor = subprocess.Popen(
            isolated("sockbpf", "-c", str(config), "--ready-file", str(ready), "--beside"),
            stderr=subprocess.PIPE,
            env=os.environ
            | {"RUNTIME_DIRECTORY": folder},  # what the monitor compiles is deleted with the folder
            text=True,
        )
        try:
            _wait_until_armed(out, monitor, ready)
            out.print(f"[bold]2.[/] the monitor is armed: thresholds {THRESHOLD} bytes")
            _stall(out, alerts)
        finally:
            monitor.terminate()
            with suppress(subprocess.TimeoutExpired):
                monitor.communicate(timeout=10)
            monitor.kill()
            server.shutdown()
    out.print("[bold]5.[/] stopped; nothing is left behind")
    out.print(NEXT)
    return 0


def _wait_until_armed(out: Console, monitor: subprocess.Popen[str], ready: Path) -> None:
    """Return once the monitor is armed; raise SockbpfError if it has ended, or after ARMED_S."""
    pause, begun_s, is_announced = threading.Event(), time.monotonic(), False
    while (so_far_s := time.monotonic() - begun_s) < ARMED_S and monitor.poll() is None:
        if ready.exists():
            return
        if so_far_s > SILENT_S and not is_announced:
            is_announced = True
            out.print(f"   the monitor compiles its programs for this kernel: {ARMED_S:g} s at the most")
        pause.wait(0.05)
    monitor.kill()
    raise SockbpfError("the monitor did not arm:\n" + monitor.communicate()[1])


def _stall(out: Console, alerts: SimpleQueue[Parameters]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            reader = _reader(listener)
            try:
                reader.send_signal(signal.SIGSTOP)
                os.waitpid(reader.pid, os.WUNTRACED)  # it is stopped from now on, not a moment later
                out.print(
                    f"[bold]3.[/] a client sends {STALL} bytes to port {port}, whose reader hangs:", end=" "
                )
                out.print(f"process {reader.pid} is stopped")
                client.sendall(bytes(STALL))
                _show(out, _next(alerts, EXCEEDED, port))
                out.print("[bold]4.[/] the reader wakes up and reads it all")
                reader.send_signal(signal.SIGCONT)
                _show(out, _next(alerts, CLEARED, port))
            finally:
                reader.kill()
                reader.wait()


def _reader(listener: socket.socket) -> subprocess.Popen[bytes]:
    """Accept a connection, and start a process that alone has it, and reads whatever comes."""
    with listener.accept()[0] as accepted:
        return subprocess.Popen(
            [sys.executable, "-I", "-c", READER, str(accepted.fileno())], pass_fds=[accepted.fileno()]
        )


def _next(alerts: SimpleQueue[Parameters], event: str, port: int) -> Parameters:
    """Return the next such alert about the demo's own reader; other sockets of the host may be over too."""
    with suppress(Empty):
        while True:
            alert = alerts.get(timeout=ALERT_S)
            if alert["event"] == event and alert["type"] == "RECV" and alert["local_port"] == str(port):
                return alert
    raise SockbpfError(
        f"no {event} alert within {ALERT_S} s; sudo sockbpf check -c config.yaml says what is missing"
    )


def _show(out: Console, alert: Parameters) -> None:
    table = Table(title=f"GET /alert …&event={alert['event']}", title_justify="left", show_header=False)
    for name, value in alert.items():
        table.add_row(name, value)
    out.print(table)
    out.print(sentence(alert), markup=False)
