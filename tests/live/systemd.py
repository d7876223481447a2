# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A systemd of the tests' own as PID 1: in namespaces, on a root under a layer of its own, by default this machine's.

What is installed there is gone with it. It has its own processes, mounts, control groups and network; the kernel, and
what watches it, is this machine's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from tests.live.cgroups import removed
from tests.live.waiting import until

REPOSITORY = Path(__file__).parents[2]
CGROUP = next(
    (
        path
        for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"))
        if (path / "cgroup.procs").exists()
    ),
    None,
)
"""The second version's; a machine has one, here or there."""

BEGIN = """
set -e
ip link set lo up
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=$3,upperdir=$1/upper,workdir=$1/work" "$1/root"
root=$1/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs sys "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
for folder in /sys/kernel/tracing /sys/fs/bpf; do mount --rbind $folder "$root$folder" || true; done
mount -t tmpfs -o mode=755 none "$root/run"
mount -t tmpfs -o mode=1777 none "$root/tmp"
# elsewhere, or in /tmp
[ "$3" != / ] || [ -e "$root$2/Makefile" ] || { mkdir -p "$root$2"; mount --rbind "$2" "$root$2"; }
rm -rf "$root/etc/systemd/system"/*.wants "$root/etc/sockbpf" "$root/usr/local/bin/sockbpf"
rm -rf "$root/usr/local/lib/sockbpf" "$root/var/log/journal" "$root/var/lib/sockbpf"*
printf '[Unit]\\nDefaultDependencies=no\\nAllowIsolate=yes\\n' >"$root/etc/systemd/system/test.target"
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other /lib/systemd/systemd \
    --unit=test.target --log-target=console --show-status=no --log-level=notice
"""


@dataclass
class Systemd:
    """The manager, by its process id here."""

    pid: int
    root: Path

    def run(self, *command: str, check: bool = True, timeout: float = 200, net: bool = True) -> str:
        """Run a command in there, without `net` in the network of this machine; return what it said."""
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--cgroup", "--uts", "--ipc"]
        enter += ["--net"] * net
        done = subprocess.run(
            [*enter, f"--root={self.root}", f"--wd={self.root}", *command],
            capture_output=True, text=True, check=False, timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def file(self, path: str) -> Path:
        """Return a file of its root as it is to be found here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def shown(self, unit: str, what: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", what, unit).strip()

    def pids(self, unit: str) -> dict[int, str]:
        """Return the processes of a unit, by their ids in there, with their command lines."""
        group = self.file(f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs")
        found = {}
        with suppress(OSError):
            for here in map(int, group.read_text().split()):  # the kernel tells them as the reader's own
                with suppress(OSError):
                    status = Path(f"/proc/{here}/status").read_text()
                    inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[
                        -1
                    ]
                    found[int(inside)] = (
                        Path(f"/proc/{here}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    )
        return found


@contextmanager
def running_systemd(root: Path = Path("/")) -> Iterator[Systemd]:
    """Start one on a root, in which nothing is changed; at the end nothing is left of it."""
    assert CGROUP, "no control groups of the second version"
    group = Path(mkdtemp(prefix="sockbpf-test-", dir=CGROUP))
    folder = Path(mkdtemp(prefix="sockbpf-systemd-", dir="/var/tmp"))
    log = folder.with_suffix(".log")
    enter = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
    separate = [
        "unshare",
        "--cgroup",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--ipc",
        "--uts",
        "--net",
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["sh", "-c", enter, "sh", str(group), *separate, "--propagation=private", "sh", "-c", BEGIN, "sh",
             str(folder), str(REPOSITORY), str(root)],
            stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = int(until(lambda: child.read_text().strip(), log.read_text))
        made = Systemd(pid, folder / "root")
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "systemd\n", log.read_text)
        made = Systemd(pid, Path(f"/proc/{pid}/root"))
        until(
            lambda: made.run("systemctl", "is-active", "test.target", check=False) == "active\n",
            log.read_text,
        )
        yield made
    finally:
        print(f"--- log of systemd ---\n{log.read_text(errors='replace')[-20000:]}")
        with suppress(ProcessLookupError, UnboundLocalError):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        until(lambda: removed(group), "the end of all its processes")
        shutil.rmtree(folder)
        log.unlink()
