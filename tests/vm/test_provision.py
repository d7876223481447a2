# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""vagrant/provision.sh on a host too old for sockbpf: it makes a Debian 12 in a folder, and `sockbpf` is run by that.

The host is a Debian 11, its /usr not yet merged, in a folder, on this machine's kernel. All that is mounted for it is
in a mount namespace of its own, which ends with it.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.waiting import until
from tests.vm.packages import CACHE, PackagesError, made_once, mirror
from tests.vm.wheels import wheels

CHECKOUT = Path(__file__).parents[2]
SUITE = "bullseye"
WRONG_KEY = "/usr/share/keyrings/debian-archive-bullseye-security-automatic.gpg"
"""Debian's, but it signs another archive."""

MOUNTS = """\
set -e
mount --bind "$1" "$1"
for folder in proc sys dev; do mount --rbind "/$folder" "$1/$folder"; done
mount -t tmpfs none "$1/run"
mkdir -p "$1/vagrant" "$1/wheels" "$1/run/netns"
mount --bind "$2" "$1/vagrant"
mount --bind "$3" "$1/wheels"
mount --make-rshared "$1"
cp --dereference /etc/resolv.conf /etc/hosts "$1/etc/"
echo mounted
exec chroot "$1" cat
"""


class Host:
    """A machine as `vagrant up` finds it: an old release, and the checkout in /vagrant."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root = root
        unshare = ["unshare", "--mount", "--propagation=private", "sh", "-c", MOUNTS, "sh"]
        folders = map(str, (root, CHECKOUT, wheels))
        # It lives as long as its input: should these tests be killed, nothing is left of it.
        self._init = subprocess.Popen(
            [*unshare, *folders], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._init.stdout
        assert self._init.stdout.readline() == "mounted\n"
        self._environment = {name: value for name, value in os.environ.items() if name.endswith("_proxy")}
        self._environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "SOCKBPF_MIRROR": mirror()}
        self._environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def command(self, *command: str, cwd: str = "/") -> list[str]:
        """Return what runs the command in the host, by exec alone: its process is this one."""
        enter = ["nsenter", f"--target={self._init.pid}", "--mount", "--root", "--wd"]
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        return [*enter, "env", "-i", *environment, "sh", "-c", 'cd "$0" && exec "$@"', cwd, *command]

    def run(self, *command: str, cwd: str = "/") -> tuple[int, str]:
        """Run the command in the host; return its exit code and what it said."""
        done = subprocess.run(
            self.command(*command, cwd=cwd),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def stop(self) -> None:
        self._init.communicate()


def fresh_root(folder: Path) -> None:
    make = ["unshare", "--mount", "debootstrap", "--variant=minbase", "--no-merged-usr", SUITE]
    done = subprocess.run([*make, folder / "root", mirror()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackagesError(f"debootstrap {SUITE}: {done.stdout[-1000:]}{done.stderr}")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Run a host that has nothing of ours on it yet."""
    try:
        cached = made_once(CACHE / "old-host", SUITE, fresh_root)
    except PackagesError as reason:
        pytest.skip(str(reason))
    with tempfile.TemporaryDirectory(prefix="sockbpf-host-") as folder:
        root = Path(folder, "root")
        subprocess.run(["cp", "--archive", cached / "root", root], check=True)
        host = Host(root, wheels())
        try:
            yield host
        finally:
            host.stop()


@pytest.fixture(scope="module")
def provisioned(host: Host) -> Host:
    code, said = host.run("/vagrant/vagrant/provision.sh")
    assert code == 0, said[-4000:]
    assert said.endswith(f"sockbpf {importlib.metadata.version('sockbpf')}\n")
    return host


@pytest.mark.timeout(600)
def test_packages_that_debian_did_not_sign_are_refused(host: Host) -> None:
    script = f"""\
        set -e
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends gnupg
        mkdir /srv/other
        cp -r /vagrant/vagrant /srv/other
        gpg --enarmor <{WRONG_KEY} >/srv/other/vagrant/debian-12-archive.asc
    """
    code, said = host.run("sh", "-c", script)
    assert code == 0, said
    code, said = host.run("/vagrant/vagrant/provision.sh", "/srv/other")
    assert code == 1, said[-4000:]
    assert re.search("E: Release signed by unknown key", said), said[-4000:]
    assert not (host.root / "var/lib/sockbpf/debian").exists()


@pytest.mark.timeout(600)
def test_the_demo_shows_an_alert(provisioned: Host) -> None:
    assert not (provisioned.root / "bin").is_symlink()  # an old host indeed
    code, said = provisioned.run("sockbpf", "demo")
    assert code == 0, said
    assert re.search(r"event=exceeded *\n(?:.*\n)*?.*\bsize\b\D*50000\b", said)
    assert "event=cleared" in said


def test_once_more_is_harmless(provisioned: Host) -> None:
    code, said = provisioned.run("/vagrant/vagrant/provision.sh")
    assert code == 0, said
    assert "Nothing to be done for 'setup'" in said
    assert not re.search("Retrieving|Unpacking", said)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_paths_and_signals_are_the_hosts(provisioned: Host, number: int, code: int) -> None:
    home = provisioned.root / "home/operator"
    home.mkdir(exist_ok=True)
    (home / "config.yaml").write_text("url: http://127.0.0.1:9/alert\n")
    command = provisioned.command(
        "sockbpf", "-c", "config.yaml", "--ready-file", "ready", cwd="/home/operator"
    )
    monitor = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: (home / "ready").exists() or monitor.poll() is not None, "armed")
        monitor.send_signal(number)
        said = monitor.communicate(timeout=60)[1]
    finally:
        monitor.kill()
    assert monitor.returncode == code, said
    assert not (home / "ready").exists()


def test_exit_codes_are_passed_on(provisioned: Host) -> None:
    assert provisioned.run("sockbpf", "-c", "/none.yaml")[0] == 2
    code, said = provisioned.run("setpriv", "--reuid=65534", "--clear-groups", "sockbpf", "demo")
    assert (code, said) == (3, "needs root: sudo sockbpf …\n")


def test_nothing_stays_mounted_and_what_comes_later_is_seen(provisioned: Host) -> None:
    before = provisioned.run("cat", "/proc/self/mounts")
    script = """\
        set -e
        touch /run/netns/later
        mkfifo /run/entered
        /opt/sockbpf/vagrant/enter.sh sh -c 'echo >/run/entered; exec sleep 60' & inside=$!
        read -r _ </run/entered
        seen() { stat -Lc %d:%i "/proc/$inside/root/run/netns/later"; }
        unshare --net sh -c 'exec sleep 60' & other=$!
        until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
        mount --bind "/proc/$other/ns/net" /run/netns/later
        [ "$(seen)" = "$(stat -Lc %d:%i "/proc/$other/ns/net")" ]
        umount /run/netns/later
        [ "$(seen)" = "$(stat -Lc %d:%i /run/netns/later)" ]
        kill "$inside" "$other"
    """
    code, said = provisioned.run("sh", "-xc", script)
    assert code == 0, said
    assert provisioned.run("cat", "/proc/self/mounts") == before
