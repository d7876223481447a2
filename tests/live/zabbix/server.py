# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Zabbix as processes of this test: server, frontend and agent on loopback, each with its files in one folder."""

from __future__ import annotations

import gzip
import os
import random
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.live.daemons import running
from tests.live.ports import free_port
from tests.live.waiting import until
from tests.live.zabbix.api import Api
from tests.live.zabbix.packages import command, php

SERVER = """\
ListenIP=127.0.0.1
ListenPort={port}
DBHost=127.0.0.1
DBPort={database.port}
DBName={name}
DBUser=postgres
LogType=console
SocketDir={folder}
PidFile={folder}/server.pid
User=nobody
CacheUpdateFrequency=1
HousekeepingFrequency=0
{few}
"""
NUMBERS = {
    **dict.fromkeys(
        ("Trappers", "AgentPollers", "Pollers", "DBSyncers", "Preprocessors", "LLDProcessors"), 1
    ),
    **dict.fromkeys(
        ("HTTPPollers", "Pingers", "Discoverers", "ODBCPollers", "SNMPPollers", "BrowserPollers"), 0
    ),
}
"""How many processes, or threads, of each kind."""

FEW = "".join(f"Start{kind}={number}\n" for kind, number in NUMBERS.items())
AGENT = """\
ListenIP=127.0.0.1
ListenPort={port}
Server=127.0.0.1
Hostname=watched
LogType=console
PidFile={folder}/agent.pid
User=nobody
Include={folder}/sockbpf.conf
"""


ENDS_S = 5
"""So long they have to end: now and then the server never does when it is asked to."""

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
PORTS = range(20_011, 32_768)
"""Zabbix listens on no higher port."""


def free_low_port() -> int:
    """Return a port that Zabbix takes and nobody listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


@dataclass(frozen=True)
class Server:
    """A running server with its frontend."""

    port: int
    api: Api
    log: Path

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-3000:]


def load(programs: Path, database: str) -> None:
    """Make the tables, with what a new server has in them."""
    with subprocess.Popen(
        ["psql", "-qX", "-v", "ON_ERROR_STOP=1", database], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as psql:
        assert psql.stdin
        psql.stdin.write(b"set synchronous_commit = off;\n")
        for part in ("schema", "images", "data"):
            packed = programs / "usr/share/zabbix-server-pgsql" / f"{part}.sql.gz"
            psql.stdin.write(gzip.decompress(packed.read_bytes()))
        psql.stdin.write(b"analyze;\n")  # else each request of the frontend takes seconds
    assert psql.returncode == 0


def start_server(programs: Path, folder: Path, database: str, stack: ExitStack) -> Server:
    """Start server and frontend on a database that is empty; return once both answer."""
    load(programs, database)
    where = urlsplit(database)
    name = where.path.lstrip("/")
    port, web = free_low_port(), free_port()
    config, log = folder / "server.conf", folder / "server.log"
    config.write_text(SERVER.format(port=port, database=where, name=name, folder=folder, few=FEW))
    stack.enter_context(
        running(*command(programs, "usr/sbin/zabbix_server", "-f", "-c", config), log=log, patience_s=ENDS_S)
    )
    environment = {
        "ZABBIX_DATABASE_PORT": str(where.port), "ZABBIX_DATABASE": name, "ZABBIX_SERVER_PORT": str(port),
    }  # fmt: skip
    given = [f"{key}={value}" for key, value in environment.items()]
    served = ["-S", f"127.0.0.1:{web}", "-t", str(programs / "usr/share/zabbix")]
    stack.enter_context(
        running(
            *NOBODY, "env", *given, *php(programs), *served, log=folder / "frontend.log", patience_s=ENDS_S
        )
    )
    api = Api(f"http://127.0.0.1:{web}/api_jsonrpc.php")
    until(api.is_there, (folder / "frontend.log").read_text)
    until(
        lambda: "server #0 started" in log.read_text(errors="replace"),
        lambda: log.read_text(errors="replace"),
    )
    return Server(port, api, log)


def start_agent(programs: Path, folder: Path, parameter: str, sudoers: str, stack: ExitStack) -> int:
    """Start an agent with this user parameter, to whose user /etc/sudoers has this line alone; return its port."""
    port = free_low_port()
    config, allowed = folder / "agent.conf", folder / "sudoers"
    (folder / "sockbpf.conf").write_text(parameter)
    config.write_text(AGENT.format(port=port, folder=folder))
    allowed.write_text(sudoers)
    allowed.chmod(0o440)
    inside = f'mount --bind {allowed} /etc/sudoers && exec "$@"'
    agent = command(programs, "usr/sbin/zabbix_agentd", "-f", "-c", config)
    stack.enter_context(running(*in_mounts(inside, agent), log=folder / "agent.log", patience_s=ENDS_S))
    return port


def in_mounts(inside: str, of: Sequence[str]) -> list[str]:
    """Return the command that runs another one with mounts of its own."""
    return ["unshare", "--mount", "sh", "-c", inside, "sh", *of]


def said_by_agent2(programs: Path, folder: Path) -> str:
    """Return what the other agent says, asked once for the user parameter."""
    config = folder / "agent2.conf"
    config.write_text(f"LogType=console\nServer=127.0.0.1\nHostname=watched\nInclude={folder}/sockbpf.conf\n")
    asked = [*NOBODY, *command(programs, "usr/sbin/zabbix_agent2", "-c", config, "-t", "sockbpf.status")]
    inside = f'mount --bind {folder}/sudoers /etc/sudoers && exec "$@"'
    return subprocess.run(
        in_mounts(inside, asked), capture_output=True, text=True, check=True, env=os.environ
    ).stdout
