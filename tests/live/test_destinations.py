# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The destinations against what people run: rsyslog, logrotate, Alertmanager, disks that are full or read-only.

rsyslog's own parsers read what was sent. logrotate moves and compresses the file while it is written to, and no line
is lost. Alertmanager fires and resolves, by its API and by what it tells its own receiver.
"""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from sockbpf.delivery.destinations.alertmanager import Alertmanager
from sockbpf.delivery.destinations.json_lines import JsonLines
from sockbpf.delivery.destinations.syslog import Syslog
from sockbpf.delivery.transport import Destination, TransportError
from sockbpf.record.text import printable, sentence, without_markup
from tests.live.waiting import DEADLINE_S, until

TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "2001:db8::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "9", "duration": "0", "id": "e", "seq": "7", "host": "h.example",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "nginx",
}  # fmt: skip
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000001", "host": "h", "seq": "7", "alerts": "12"}
NASTY = [
    'a"b',
    "a\\",
    "]",
    '\\"]\\\\"',
    "a=b c",
    "ä€😀",
    "<0>1 - -",
    "\n<0>1 - - - - - -\x1b[0m",
    "",
    "%s%n",
    "#012",
]
"""What processes call themselves."""


def program(name: str) -> str:
    """Return its path, also where only root has it on the PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return found or pytest.skip(f"{name} is not installed")


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_bound(port: int) -> bool:
    """Whether somebody has the UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@contextmanager
def running(*command: str | Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            print(f"--- {command[0]} ---\n{log.read_text(errors='replace')[-5000:]}")


# syslog

RSYSLOG = """
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imtcp")
module(load="mmpstrucdata")
input(type="imuxsock" socket="{folder}/log")
input(type="imudp" address="127.0.0.1" port="{udp}")
input(type="imtcp" address="127.0.0.1" port="{tcp}")
template(name="json" type="list" option.jsonf="on") {{
    property(outname="pri" name="pri" format="jsonf")
    property(outname="host" name="hostname" format="jsonf")
    property(outname="app" name="app-name" format="jsonf")
    property(outname="procid" name="procid" format="jsonf")
    property(outname="msgid" name="msgid" format="jsonf")
    property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
    property(outname="data" name="$!rfc5424-sd" format="jsonf")
    property(outname="msg" name="msg" format="jsonf")
}}
action(type="mmpstrucdata")
action(type="omfile" file="{folder}/messages" template="json")
"""
"""The inputs have the options they have by default."""


@dataclass
class Rsyslog:
    """A daemon that can be stopped and started; what it reads it writes as lines of JSON."""

    folder: Path
    udp: int
    tcp: int
    stack: ExitStack

    def start(self) -> None:
        # A copy: on some systems AppArmor confines the installed one to the system's own folders.
        binary = self.folder / "rsyslogd"
        if not binary.exists():
            shutil.copy(program("rsyslogd"), binary)
        config = self.folder / "rsyslog.conf"
        config.write_text(RSYSLOG.format(folder=self.folder, udp=self.udp, tcp=self.tcp))
        command = (binary, "-n", "-f", config, "-i", self.folder / "pid")
        self.stack.enter_context(running(*command, log=self.folder / "output"))
        until(self.is_listening, lambda: f"rsyslog listens: {(self.folder / 'output').read_text()}")

    def is_listening(self) -> bool:
        with socket.socket(socket.AF_INET) as probe:
            tcp = probe.connect_ex(("127.0.0.1", self.tcp)) == 0
        return tcp and is_bound(self.udp) and (self.folder / "log").exists()

    def stop(self) -> None:
        self.stack.close()

    def destination(self, transport: str) -> Syslog:
        address = {
            "unix": ("unix", str(self.folder / "log"), 0),
            "udp": ("udp", "127.0.0.1", self.udp),
            "tcp": ("tcp", "localhost", self.tcp),
        }[transport]
        return Syslog(address=address, timeout_s=DEADLINE_S, facility="local3")

    def messages(self, number: int) -> list[dict[str, Any]]:
        """Wait for that many messages of ours."""

        def read() -> list[dict[str, Any]]:
            with suppress(FileNotFoundError):
                lines = (self.folder / "messages").read_text().splitlines()
                read = [json.loads(line) for line in lines]
                return [message for message in read if message["app"] != "rsyslogd"]
            return []

        until(lambda: len(read()) >= number, lambda: f"{number} messages: {read()}")
        return read()


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    with ExitStack() as stack:
        made = Rsyslog(tmp_path, free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM), stack)
        made.start()
        yield made


def data(message: dict[str, Any]) -> dict[str, str]:
    """Return the structured data as rsyslog understood it."""
    read: dict[str, dict[str, str]] = json.loads(message["data"])
    assert list(read) == ["sockbpf@32473"]
    return read["sockbpf@32473"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_rsyslog_reads_every_field(rsyslog: Rsyslog, transport: str) -> None:
    sent = [TOLD | {"comm": comm} for comm in NASTY] + [TOLD | {"event": "cleared"}, HEARTBEAT]
    with closing(rsyslog.destination(transport)) as destination:
        for told in sent:
            destination.send(told)
    messages = rsyslog.messages(len(sent))
    assert len(messages) == len(sent)
    for told, message in zip(sent, messages, strict=True):
        assert data(message) == {key: printable(text) for key, text in told.items()}
        assert message["msg"].removeprefix("\ufeff") == sentence(told)
        assert (message["app"], message["msgid"]) == ("sockbpf", told["event"])
        assert message["host"] == told["host"]
        assert message["procid"].isdecimal()
    assert {message["timestamp"] for message in messages[:-1]} == {"2026-11-22T10:25:23.482913Z"}
    local3 = 19 * 8
    assert [int(message["pri"]) for message in messages[-3:]] == [local3 + 4, local3 + 5, local3 + 6]


def test_rsyslog_reads_its_local_socket(rsyslog: Rsyslog) -> None:
    with closing(rsyslog.destination("unix")) as destination:
        for comm in NASTY:
            destination.send(TOLD | {"comm": comm})
    for comm, message in zip(NASTY, rsyslog.messages(len(NASTY)), strict=True):
        told = TOLD | {"comm": comm}
        assert (message["app"], message["procid"].isdecimal(), int(message["pri"])) == ("sockbpf", True, 156)
        assert message["msg"].startswith(f" {sentence(told)} [sockbpf@32473 timestamp=")
        assert message["msg"].endswith('"]')


@pytest.mark.parametrize("transport", ["udp", "tcp", "unix"])
def test_rsyslog_that_starts_anew(rsyslog: Rsyslog, transport: str) -> None:
    """What is sent while it is away fails. Once it is back alerts arrive, also if nobody noticed it was away."""
    with closing(rsyslog.destination(transport)) as destination:
        for round_ in range(3):
            destination.send(TOLD | {"seq": str(round_)})
            rsyslog.messages(round_ + 1)
            rsyslog.stop()
            with pytest.raises(TransportError) as failed:
                destination.send(TOLD | {"seq": "nowhere"})
            assert not failed.value.permanent
            rsyslog.start()
        destination.send(TOLD | {"seq": "3"})
        rsyslog.messages(4)
        rsyslog.stop()
        rsyslog.start()
        destination.send(TOLD | {"seq": "4"})
    messages = rsyslog.messages(5)
    assert len(messages) == 5
    if transport != "unix":
        assert [data(message)["seq"] for message in messages] == ["0", "1", "2", "3", "4"]


def all_at_once(make: Callable[[], Destination], number: int, each: int) -> None:
    """Send from that many destinations, each from a thread of its own, the seqs from 0 on."""
    failed: list[BaseException] = []

    def send(first: int) -> None:
        try:
            with closing(make()) as destination:
                for seq in range(first, first + each):
                    destination.send(TOLD | {"seq": str(seq)})
        except BaseException as error:  # noqa: BLE001  shown by the test
            failed.append(error)

    threads = [threading.Thread(target=send, args=(n * each,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_rsyslog_gets_all_of_several_senders(rsyslog: Rsyslog) -> None:
    all_at_once(lambda: rsyslog.destination("tcp"), 4, 100)
    assert Counter(data(message)["seq"] for message in rsyslog.messages(400)) == Counter(map(str, range(400)))


# the file

ROTATIONS = 40


def seqs(*paths: Path) -> list[int]:
    """Return the seqs of all lines, which are whole, in plain and compressed files."""
    found: list[int] = []
    for path in paths:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert text.endswith(b"\n") or not text
        found += [json.loads(line)["seq"] for line in text.splitlines()]
    return found


@dataclass
class Logrotate:
    """Rotates one file at each call."""

    folder: Path
    options: str

    @property
    def path(self) -> Path:
        return self.folder / "alerts.jsonl"

    def __call__(self) -> None:
        config = self.folder / "logrotate.conf"
        config.write_text(f"{self.path} {{\nrotate 10000\nmissingok\nifempty\n{self.options}\n}}\n")
        config.chmod(0o600)
        command = [program("logrotate"), "--force", "--state", str(self.folder / "state"), str(config)]
        # A file that was there again before it made one it may complain of, or it sets it aside, under a name that
        # has the hour in it: the next such file of the hour would take its place.
        subprocess.run(command, check=False, timeout=DEADLINE_S)
        for aside in self.folder.glob("*.backup"):
            aside.rename(f"{aside}.{time.monotonic_ns()}")


@pytest.mark.parametrize("options", ["nocreate", "create 0640", "create 0640\ncompress"])
def test_no_line_is_lost_while_logrotate_moves_the_file(tmp_path: Path, options: str) -> None:
    rotate = Logrotate(tmp_path, options)
    over = threading.Event()
    sent: list[int] = []

    def write(first: int) -> None:
        with closing(JsonLines(path=rotate.path)) as destination:
            for seq in range(first, first + 10**6):
                if over.is_set():
                    return
                destination.send(TOLD | {"seq": str(seq)})
                sent.append(seq)

    threads = [threading.Thread(target=write, args=(n * 10**6,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROTATIONS):
            rotate()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    paths = list(tmp_path.glob("alerts.jsonl*"))
    found = Counter(seqs(*paths))
    print(f"{len(sent)} lines in {len(paths)} files, {found.total() - len(found)} of them written twice")
    assert len(paths) > ROTATIONS // 2
    assert set(found) == set(sent)


def test_logrotate_that_copies_and_cuts_the_file(tmp_path: Path) -> None:
    rotate = Logrotate(tmp_path, "copytruncate")
    with closing(JsonLines(path=rotate.path)) as destination:
        destination.send(TOLD | {"seq": "1"})
        destination.send(TOLD | {"seq": "2"})
        rotate()
        destination.send(TOLD | {"seq": "3"})
    assert (seqs(tmp_path / "alerts.jsonl.1"), seqs(rotate.path)) == ([1, 2], [3])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 16 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_tears_no_line(small_disk: Path) -> None:
    path, ballast = small_disk / "alerts.jsonl", small_disk / "ballast"
    ballast.write_bytes(bytes(8192))
    with closing(JsonLines(path=path)) as destination:
        written: list[int] = []

        def fill() -> None:
            for seq in range(1000):
                destination.send(TOLD | {"seq": str(seq)})
                written.append(seq)

        with pytest.raises(TransportError, match=r"room for|No space left") as failed:
            fill()
        assert not failed.value.permanent
        assert seqs(path) == written
        assert 8192 - path.stat().st_size < 1000
        with pytest.raises(TransportError):
            destination.send(TOLD | {"seq": "-1"})
        ballast.unlink()
        destination.send(TOLD | {"seq": "1000"})
    assert seqs(path) == [*written, 1000]


def test_a_read_only_disk(small_disk: Path) -> None:
    path = small_disk / "alerts.jsonl"
    with closing(JsonLines(path=path)) as destination:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        with pytest.raises(TransportError) as failed:
            destination.send(TOLD)
        assert (str(failed.value), failed.value.permanent) == (f"{path}: Read-only file system", False)
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        destination.send(TOLD)
    assert seqs(path) == [7]


# Alertmanager

ALERTMANAGER = """
route: {{receiver: webhook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: webhook, webhook_configs: [{{url: '{url}', send_resolved: true}}]}}]
"""


@dataclass
class AlertmanagerDaemon:
    """An Alertmanager, and what it told its own receiver."""

    port: int
    folder: Path
    stack: ExitStack
    notified: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, webhook: str) -> None:
        config = self.folder / "alertmanager.yml"
        config.write_text(ALERTMANAGER.format(url=webhook))
        options = {
            "config.file": config,
            "storage.path": self.folder / "storage",
            "web.listen-address": f"127.0.0.1:{self.port}",
            "cluster.listen-address": "",
        }
        command = [
            program("prometheus-alertmanager"),
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        log = self.folder / "output"
        self.stack.enter_context(running(*command, log=log))
        until(self.is_ready, lambda: f"Alertmanager is ready: {log.read_text()}")

    def is_ready(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/-/ready", timeout=DEADLINE_S).ok
        return False

    def alerts(self) -> list[dict[str, Any]]:
        """Return what fires now."""
        read: list[dict[str, Any]] = requests.get(f"{self.url}/api/v2/alerts", timeout=DEADLINE_S).json()
        return read

    def notice(self, status: str, id_: str) -> dict[str, Any]:
        """Wait until its receiver was told so of an episode."""

        def told() -> list[dict[str, Any]]:
            alerts = [alert for notice in list(self.notified) for alert in notice["alerts"]]
            return [alert for alert in alerts if (alert["status"], alert["labels"]["id"]) == (status, id_)]

        found: list[dict[str, Any]] = until(told, lambda: f"{status} {id_}: {self.notified}")
        return found[0]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[AlertmanagerDaemon]:
    with ExitStack() as stack:
        made = AlertmanagerDaemon(free_port(socket.SOCK_STREAM), tmp_path, stack)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                made.notified.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(server.shutdown)
        made.start(f"http://127.0.0.1:{server.server_port}")
        yield made


def at(seconds_ago: int, **others: str) -> dict[str, str]:
    """Return an alert of so long ago."""
    return TOLD | {"timestamp": f"{int(time.time()) - seconds_ago}.123456"} | others


def date(seconds: float) -> str:
    """Return the date of an alert as the API shows it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.123Z", time.gmtime(seconds))


def test_an_alert_fires_goes_on_and_is_resolved(alertmanager: AlertmanagerDaemon) -> None:
    exceeded = {key: text for key, text in at(20).items() if key not in {"pid", "comm"}}
    ongoing = at(10, event="ongoing", duration="10.000000", peak="12")
    cleared = at(0, event="cleared", duration="20.000000", size="0", peak="12")
    # By its own clock that is when the last of it was seen.
    cleared["timestamp"] = f"{int(exceeded['timestamp'][:-7]) + 20}.123456"
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        destination.send(exceeded)
        fires = until(alertmanager.alerts, "the alert")
        assert len(fires) == 1
        assert fires[0]["labels"]["alertname"] == "SocketQueue"
        assert fires[0]["labels"]["remote_ip"] == "2001:db8::1"
        assert fires[0]["annotations"]["summary"] == sentence(without_markup(exceeded))
        begun = date(float(exceeded["timestamp"]))
        assert fires[0]["startsAt"] == begun
        alertmanager.notice("firing", "e")
        destination.send(ongoing)
        until(lambda: alertmanager.alerts()[0]["annotations"]["peak"] == "12", "the new peak")
        assert len(alertmanager.alerts()) == 1
        assert alertmanager.alerts()[0]["fingerprint"] == fires[0]["fingerprint"]
        assert alertmanager.alerts()[0]["startsAt"] == begun
        assert not any(
            alert["status"] == "resolved" for each in alertmanager.notified for alert in each["alerts"]
        )
        destination.send(cleared)
    until(lambda: not alertmanager.alerts(), lambda: f"no alert: {alertmanager.alerts()}")
    resolved = alertmanager.notice("resolved", "e")
    assert resolved["fingerprint"] == fires[0]["fingerprint"]
    assert resolved["endsAt"] == date(float(cleared["timestamp"])).replace(".123Z", ".123456Z")


def test_episodes_and_folds_are_alerts_of_their_own(alertmanager: AlertmanagerDaemon) -> None:
    folded = {key: text for key, text in at(5, id="f").items() if key not in {"local_ip", "remote_ip", "pid"}}
    folded |= {"count": "37", "worst": "10.0.0.2:5=9;[::1]:6=9"}
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        for told in (at(5), folded, HEARTBEAT):
            destination.send(told)
        ongoing = at(5, id="g", event="ongoing", duration="60.000000")  # the first that is heard of it
        destination.send(ongoing)
        destination.send(at(0, event="cleared", duration="5.000000"))
        destination.send(folded | {"event": "cleared", "count": "3"})
    alertmanager.notice("resolved", "e")
    fires = {alert["labels"]["id"]: alert for alert in alertmanager.alerts()}
    assert set(fires) == {"f", "g"}
    assert fires["g"]["startsAt"] == date(float(ongoing["timestamp"]) - 60)


def test_what_alertmanager_will_never_take_is_permanent(alertmanager: AlertmanagerDaemon) -> None:
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        with pytest.raises(TransportError, match="answered 400") as failed:
            destination.send(at(0, event="cleared", duration="-5"))
        assert failed.value.permanent
        destination.send(at(0))
    assert len(alertmanager.alerts()) == 1


def test_an_alertmanager_that_is_away_is_not(alertmanager: AlertmanagerDaemon) -> None:
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        destination.send(at(0))
        alertmanager.stack.close()
        with pytest.raises(TransportError, match=r"Connection refused|closed without an answer") as failed:
            destination.send(at(0))
        assert not failed.value.permanent
