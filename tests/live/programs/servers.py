# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real servers, each started as its own manual says, with nothing tuned; all end with their place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sockbpf.kernel.look.threads import threads_of
from tests.live.daemons import program
from tests.live.programs.place import LOOPBACK, Place, family
from tests.live.waiting import until

BIG = 200 * 2**20
"""Bytes of the file that is downloaded."""

NGINX = """
user root; daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ worker_connections 1024; }}
http {{ access_log off; server {{ listen 0.0.0.0:{port}; root {folder};
    location = /well {{ return 200 "well\\n"; }} }} }}
"""
RSYSLOG = """
global(workDirectory="{folder}")
module(load="imudp")
module(load="imtcp")
input(type="imudp" address="127.0.0.1" port="{port}")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{folder}/messages")
"""
SSHD = """
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
"""


@dataclass(frozen=True)
class Server:
    """A server that takes connections at its port."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    def pids(self) -> list[int]:
        return family(self.process.pid)


def nginx(place: Place) -> Server:
    folder, port = place.new_folder("nginx"), next(place.ports)
    (folder / "conf").write_text(NGINX.format(folder=folder, port=port))
    with (folder / "big").open("wb") as file:
        file.truncate(BIG)
    process = place.start(program("nginx"), "-p", folder, "-c", folder / "conf")
    place.until_open(port)
    return Server("nginx", port, process, folder)


def postgresql(place: Place) -> Server:
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folder, port = place.new_folder("postgresql", "postgres"), next(place.ports)
    become = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
    place.run(
        *become, programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "--no-sync"
    )
    settings = ("-k", folder, "-p", str(port), "-c", "listen_addresses=*", "-c", "fsync=off")
    process = place.start(*become, programs / "postgres", "-D", folder / "data", *settings)
    server = Server("PostgreSQL", port, process, folder)
    asked = f"{' '.join(psql(server))} -tc 'select 1' || true"
    until(lambda: "1" in place.run("sh", "-c", asked), "PostgreSQL answers")
    return server


def psql(server: Server, *arguments: str) -> list[str]:
    """Return the command of a client, over TCP."""
    return ["psql", "-qX", "-h", LOOPBACK, "-p", str(server.port), "-U", "postgres", *arguments]


def redis(place: Place) -> Server:
    folder, port = place.new_folder("redis"), next(place.ports)
    options = ("--port", str(port), "--dir", folder, "--save", "", "--enable-debug-command", "yes")
    process = place.start(program("redis-server"), *options)
    place.until_open(port)
    return Server("redis", port, process, folder)


def dnsmasq(place: Place) -> Server:
    folder, port = place.new_folder("dnsmasq"), next(place.ports)
    process = place.start(
        program("dnsmasq"), "-k", "-C", "/dev/null", "-p", str(port), "-u", "root", "-a", LOOPBACK,
        "--bind-interfaces", "--no-resolv", "--no-hosts", "--address=/#/192.0.2.7", f"--pid-file={folder}/pid",
    )  # fmt: skip
    place.until_open(port, "-u")
    return Server("dnsmasq", port, process, folder)


def rsyslog(place: Place) -> Server:
    folder, port = place.new_folder("rsyslog"), next(place.ports)
    (folder / "conf").write_text(RSYSLOG.format(folder=folder, port=port))
    # A copy: on some systems AppArmor confines the installed one to the system's own folders.
    binary = folder / "rsyslogd"
    binary.write_bytes(Path(program("rsyslogd")).read_bytes())
    binary.chmod(0o755)
    process = place.start(binary, "-n", "-f", folder / "conf", "-i", folder / "pid")
    place.until_open(port)
    place.until_open(port, "-u")
    return Server("rsyslog", port, process, folder)


def ssh_daemon(place: Place) -> Server:
    folder, port = place.new_folder("sshd"), next(place.ports)
    Path("/run/sshd").mkdir(exist_ok=True)  # for privilege separation; a service manager makes it
    for name in ("host", "key"):
        place.run("ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", folder / name)
    (folder / "conf").write_text(SSHD.format(folder=folder, port=port))
    process = place.start(program("sshd"), "-D", "-e", "-f", folder / "conf")
    place.until_open(port)
    return Server("sshd", port, process, folder)


def ssh(server: Server, *command: str, address: str = LOOPBACK) -> list[str]:
    """Return the command of a client that runs another on the server."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
    chosen = [word for option in options for word in ("-o", option)]
    return [
        "ssh",
        "-F",
        "none",
        "-p",
        str(server.port),
        "-i",
        str(server.folder / "key"),
        *chosen,
        address,
        *command,
    ]


def asyncio_server(place: Place, way: str) -> Server:
    """Start one that serves in one of the ways of asyncio_ways.py."""
    folder, port = place.new_folder("asyncio"), next(place.ports)
    script = Path(__file__).with_name("asyncio_ways.py")
    process = place.start(sys.executable, script, way, str(port))
    place.until_open(port)
    return Server("asyncio", port, process, folder)


def comm_of(pid: int) -> str:
    """Return the name of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


def stop(pids: list[int], number: int) -> None:
    """Signal the processes; of SIGSTOP wait until all of their threads stand: one may read on for a moment."""
    for pid in pids:
        with suppress(ProcessLookupError):  # sshd has some that live for a moment
            os.kill(pid, number)
    if number == signal.SIGSTOP:
        until(lambda: all(thread.state in "TZX" for pid in pids for thread in threads_of(pid)), "all stand")
