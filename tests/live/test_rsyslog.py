# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The syslog destination against rsyslog: its own parsers read what was sent, over UDP, TCP and its local socket.

Alerts arrive again after it was away, and all of several senders arrive.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sockbpf.delivery.destinations.syslog import Syslog
from sockbpf.delivery.transport import Destination, TransportError
from sockbpf.record.text import printable, sentence
from tests.live.daemons import HEARTBEAT, TOLD, program, running
from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until

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


def is_bound(port: int) -> bool:
    """Whether somebody has the UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


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
                # The last line may be written in part: it is flushed with each 4 KiB.
                whole = (self.folder / "messages").read_text(errors="replace").rpartition("\n")[0]
                read = [json.loads(line) for line in whole.splitlines()]
                return [message for message in read if message["app"] != "rsyslogd"]
            return []

        until(lambda: len(read()) >= number, lambda: f"{number} messages: {read()}")
        return read()


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    with ExitStack() as stack:
        udp = next(port for port in iter(free_port, 0) if not is_bound(port))
        made = Rsyslog(tmp_path, udp, free_port(), stack)
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
