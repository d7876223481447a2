# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Processes where operators have them: units, containers; they hold sockets of their own, or that another one made.

All are under a systemd of the test's own (tests/live/systemd.py), and each is called as its scene is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.live.systemd import Systemd
from tests.live.waiting import until

MANY = 23
"""Sockets of each scene, all over."""

THRESHOLD = 20_011
FIRST_PORT, DEAF_PORT = 20_101, 20_099

PROGRAM = f"""
import os, signal, socket, sys, time

name, role, *more = sys.argv[1:]

def called(name):
    with open("/proc/self/comm", "w") as file:
        file.write(name)

def made():
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({MANY})]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    return sockets

def fill(sockets):
    for one in sockets:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(8):
                sender.sendto(bytes(4001), one.getsockname())

def listening(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    return server

def connected(family, address):
    while True:
        one = socket.socket(family)
        try:
            one.connect(address)
            return one
        except (FileNotFoundError, ConnectionRefusedError):  # it does not listen yet
            one.close()
            time.sleep(0.01)

called(name)
if role == "own":
    held = made()
    fill(held)
elif role == "fork":
    held = made()
    if os.fork():
        for one in held:
            one.close()
    else:
        called(name + "-child")
        fill(held)
elif role == "take":
    connection, _ = listening(more[0]).accept()
    _, numbers, _, _ = socket.recv_fds(connection, 1, {MANY})
    held = [socket.socket(fileno=number) for number in numbers]
    connection.close()
    fill(held)
elif role == "give":
    with connected(socket.AF_UNIX, more[0]) as connection:
        held = made()
        socket.send_fds(connection, [b"x"], [one.fileno() for one in held])
        connection.recv(1)
    for one in held:
        one.close()
elif role == "passed":
    held = [socket.socket(fileno=3 + place) for place in range(int(os.environ["LISTEN_FDS"]))]
    fill(held)
elif role == "deaf":
    held = socket.create_server(("127.0.0.1", {DEAF_PORT}), backlog=2 * {MANY})
elif role == "orphans" and not os.fork():
    for _ in range({MANY}):
        one = connected(socket.AF_INET, ("127.0.0.1", {DEAF_PORT}))
        one.setblocking(False)
        one.send(bytes(300_007))
        held = one.detach()
    os._exit(0)  # all are closed by the kernel, with bytes unsent
signal.pause()
"""

ROOT = """
mkdir -p "$1" && mount -t tmpfs none "$1" && cd "$1" && mkdir usr etc tmp proc sys dev run var root
mount --rbind /usr usr
for link in bin lib lib64 sbin; do [ ! -L /$link ] || cp -a /$link .; done
echo root:x:0:0::/root:/bin/sh >etc/passwd
touch etc/os-release
cp "$2" program.py
"""
PYTHON = "/usr/bin/python3"
FILE, ROOTFS, HAND, STORE = "/run/program.py", "/run/container", "/run/hand", "/run/podman"
API = "/run/api.sock"

NSPAWN = f"""
[Unit]
RequiresMountsFor=/run
[Service]
ExecStart=
ExecStart=systemd-nspawn --quiet --keep-unit --register=no --link-journal=no --machine=%I -D {ROOTFS} \\
    {PYTHON} /program.py nspawn own
"""

SOCKETS = "[Socket]\n" + "".join(f"ListenDatagram=127.0.0.1:{FIRST_PORT + place}\n" for place in range(MANY))


@dataclass
class Homes:
    """What is started by a systemd."""

    systemd: Systemd

    @classmethod
    def of(cls, systemd: Systemd) -> Homes:
        """Lay out what the scenes need."""
        systemd.file(FILE).write_text(PROGRAM)
        systemd.run("sh", "-ec", ROOT, "sh", ROOTFS, FILE)
        return cls(systemd)

    def unit(self, name: str, role: str, *more: str) -> None:
        """Have a service run the program."""
        self.systemd.run("systemd-run", f"--unit={name}", PYTHON, FILE, name, role, *more)

    def passed(self) -> None:
        """Have systemd make the sockets, and a service get them."""
        units = self.systemd.file("/etc/systemd/system")
        (units / "passed.socket").write_text(SOCKETS)
        (units / "passed.service").write_text(f"[Service]\nExecStart={PYTHON} {FILE} passed passed\n")
        self.systemd.run("systemctl", "daemon-reload")
        self.systemd.run("systemctl", "start", "passed.socket")
        self.systemd.run("systemctl", "start", "passed.service")

    def handed(self) -> None:
        """Have one service make the sockets, and another get them by SCM_RIGHTS."""
        self.unit("taker", "take", HAND)
        self.unit("giver", "give", HAND)

    def nspawn(self) -> None:
        """Start a container of systemd-nspawn called box-1."""
        drop_in = self.systemd.file("/etc/systemd/system/systemd-nspawn@.service.d/test.conf")
        drop_in.parent.mkdir(exist_ok=True)
        drop_in.write_text(NSPAWN)
        self.systemd.run("systemctl", "daemon-reload")
        self.systemd.run("systemctl", "start", "systemd-nspawn@box\\x2d1.service")

    def podman(self) -> str:
        """Start a container of podman; return its id."""
        return next(
            line for line in self.systemd.run(*_podman("run", "-d", "podman")).split() if _is_id(line)
        )

    def podman_service(self) -> Path:
        """Have podman answer requests about its containers; return its socket."""
        self.systemd.run(
            "systemd-run", "--unit=api", *PODMAN, "system", "service", "--time=0", f"unix://{API}"
        )
        return self.systemd.file(API)

    def podman_in_unit(self) -> None:
        """Start a container of podman in the cgroup of a service."""
        command = _podman("run", "--cgroups=split", "web")
        self.systemd.run("systemd-run", "--unit=web", "-p", "Delegate=yes", *command)


PODMAN = [
    "podman", "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=none", "--storage-driver=vfs",
    f"--root={STORE}/store", f"--runroot={STORE}/run",
]  # fmt: skip


def _is_id(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _podman(command: str, how: str, comm: str) -> list[str]:
    """Return the command for a container; what is left out of it, this machine may not have."""
    return [
        *PODMAN, command, how, f"--name={comm}", "--network=host",
        "--pids-limit=0", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096",
        "--security-opt=seccomp=unconfined", "--rootfs", ROOTFS, PYTHON, "/program.py", comm, "own",
    ]  # fmt: skip


@contextmanager
def running_in(processes: Path, comm: str) -> Iterator[None]:
    """Run the program with sockets of its own in a cgroup, by the file in which to write a pid."""
    enter = 'echo $$ >"$1"; exec /usr/bin/python3 -c "$2" "$3" own'
    with subprocess.Popen(["sh", "-c", enter, "sh", str(processes), PROGRAM, comm]) as held:
        try:
            yield
        finally:
            held.kill()


@contextmanager
def in_version_1(path: str) -> Iterator[Path]:
    """Make a cgroup in systemd's hierarchy of version 1, and in no other; yield the file in which to write a pid."""
    with TemporaryDirectory(prefix="sockbpf-cgroup-") as folder:
        subprocess.run(["mount", "-t", "cgroup", "-o", "none,name=systemd", "cgroup", folder], check=True)
        made = Path(folder) / path.strip("/")
        try:
            made.mkdir(parents=True)
            yield made / "cgroup.procs"
        finally:
            until(lambda: _removed(made, Path(folder)), f"the end of all in {path}")
            subprocess.run(["umount", folder], check=True)


def _removed(group: Path, root: Path) -> bool:
    with suppress(OSError):  # a process has not ended yet
        while group != root:
            group.rmdir()
            group = group.parent
        return True
    return False
