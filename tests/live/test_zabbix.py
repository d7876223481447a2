# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Debian's Zabbix 7.0 with our templates: services are found, problems raised and resolved, alerts kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sockbpf.delivery.destinations.zabbix import Zabbix
from sockbpf.delivery.transport import TransportError
from tests.live.daemons import TOLD
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ours import only_ours
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import DEADLINE_S
from tests.live.zabbix.answering import HANGS, LOST, MACROS, PROBLEMS, WELL, WRONG, answering
from tests.live.zabbix.api import Api
from tests.live.zabbix.packages import command, unpacked
from tests.live.zabbix.server import Server, said_by_agent2, start_agent, start_server
from tests.live.zabbix.templates import AGENT, TRAPPER, names_in
from tests.store.servers import POSTGRESQL, new_database, postgresql
from tests.vm.packages import PackagesError

GIVEN = Path(__file__).parents[2] / "zabbix"
INSTALLED = "/usr/local/bin/sockbpf status --json"
POSTGRES = max(POSTGRESQL.glob("*/bin/postgres"), default=POSTGRESQL)
UNREAD = 2003
HOST = "watched"
DEAD, HANGING = "Sockbpf: No monitor answers", "Sockbpf: The monitor hangs"


@pytest.fixture
def programs() -> Path:
    try:
        return unpacked()
    except PackagesError as fault:
        pytest.skip(f"no Zabbix of Debian's here: {fault}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short name, for sockets, that every user may enter."""
    with TemporaryDirectory(prefix="sb-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def given(name: str, called: str) -> str:
    """Return a file of ours as it is given, but for where sockbpf and its socket are."""
    text = (GIVEN / name).read_text()
    assert text.count(INSTALLED) == 1
    return text.replace(INSTALLED, called)


@dataclass(frozen=True)
class Watched:
    """The host in Zabbix."""

    api: Api
    server: Server

    def until(self, *problems: str) -> dict[str, dict[str, str]]:
        """Wait until these are the problems, and no others; return them."""
        begun_s = time.monotonic()
        self.api.until(lambda: self.api.problems().keys() == set(problems), self.server.said)
        print(f"{time.monotonic() - begun_s:.1f} s until {problems}")
        return self.api.problems()

    def value(self, key: str) -> str:
        return self.api.items().get(key, {}).get("lastvalue", "")


@pytest.fixture
def watched(programs: Path, folder: Path, stack: ExitStack) -> Watched:
    """Have a server and an agent, import the templates, and make a host with both."""
    servers = [
        command(programs, f"usr/sbin/zabbix_{each}", "--version") for each in ("server", "agentd", "agent2")
    ]
    for asked in (*servers, [str(POSTGRES), "--version"]):
        print(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0])
    database = new_database(stack.enter_context(postgresql()))
    server = start_server(programs, folder, database, stack)
    called = f"{Path(sys.executable).with_name('sockbpf')} status --json --socket {folder}/m.sock"
    sudoers = given("sudoers", called).replace("\nzabbix ", "\nnobody ")
    agent_port = start_agent(programs, folder, given("sockbpf.conf", called), sudoers, stack)
    api = server.api
    api.log_in()
    template = (GIVEN / "sockbpf.yaml").read_text()
    api.import_templates(template)
    # An import leaves out what it does not understand, such as a trigger, and does not say so.
    for name in (AGENT, TRAPPER):
        assert api.names_of(name) == names_in(template, name)
    api.make_host(HOST, [AGENT, TRAPPER], agent_port, MACROS)
    return Watched(api, server)


def test_zabbix(
    watched: Watched, programs: Path, folder: Path, start_monitor: StartMonitor, stack: ExitStack
) -> None:
    client, other = tcp_pair(stack)
    service = f"tcp {min(port(client), port(other))}"
    monitor = start_monitor(
        thresholds=thresholds(2**30),
        stalled={"after": "1500ms", "above": "1KiB"},
        status={"socket": str(folder / "m.sock")},
        destinations=[{"type": "zabbix", "address": f"127.0.0.1:{watched.server.port}", "host": HOST}],
        rules=only_ours(port(other), type="RECV"),
    )
    watched.api.until(lambda: watched.value("sockbpf.state") == "watching", watched.server.said)
    assert '"state": "watching"' in said_by_agent2(programs, folder)
    watched.until()

    client.sendall(bytes(UNREAD))
    ends = f"127.0.0.1:{port(other)} to 127.0.0.1:{port(client)}"
    found = f"Sockbpf: {service}: Queues stalled: 1"
    watched.api.until(lambda: len(watched.api.problems()) == 2, watched.server.said)
    problems = watched.api.problems()
    print(problems)
    (name,) = problems.keys() - {found}
    assert name.startswith(
        f"Sockbpf: RECV queue of tcp {ends} is stalled: it holds {UNREAD} bytes and nothing "
    )
    alert = json.loads(watched.value("sockbpf.alert"))
    assert (alert["event"], alert["size"]) == ("exceeded", UNREAD)
    assert problems[name]["episode"] == alert["id"]
    assert watched.value(f'sockbpf.service.stalled["{service}"]') == "1"
    assert f" RECV stalled at {UNREAD} on 127.0.0.1 " in watched.value(f'sockbpf.service.worst["{service}"]')

    drain(other, UNREAD)
    watched.until()
    alert = json.loads(watched.value("sockbpf.alert"))
    assert (alert["event"], alert["id"]) == ("cleared", problems[name]["episode"])
    monitor.process.send_signal(signal.SIGKILL)
    watched.until(DEAD)
    assert "no monitor answers" in watched.value("sockbpf.blind")
    with answering(folder / "m.sock", WELL | {"lost": 0}) as said:
        watched.until()
        said.status = WELL
        watched.until(LOST)
        watched.until()
        said.status = WRONG
        watched.until(*PROBLEMS)
        said.status = HANGS
        watched.until(HANGING, *PROBLEMS[1:])  # nothing is known: what was over stays a problem
        said.status = WELL
        watched.until()

    address = ("127.0.0.1", watched.server.port)
    with closing(Zabbix(address=address, host="nobody", timeout_s=DEADLINE_S)) as to_nobody:
        with pytest.raises(TransportError, match="not taken: the host nobody has no enabled item") as failed:
            to_nobody.send(TOLD)
        assert failed.value.permanent
