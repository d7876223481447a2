# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hosts on which nothing of ours was ever installed: a release of Debian, by debootstrap, under its own systemd."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from sockbpf import __version__
from tests.live.systemd import REPOSITORY, Systemd, running_systemd
from tests.live.turns import today
from tests.vm.packages import CACHE, PackagesError, made_once, mirror

SUITES = ("bookworm", "trixie")
TURNS = (*SUITES, "arm64")
"""What a package is tried on, one of them a day: each takes minutes."""

INCLUDED = "systemd,systemd-sysv,iproute2,python3,python3-apt,sudo"
"""What every host has that is managed by Ansible."""


def fresh_root(suite: str) -> Path:
    """Return a folder with the release; raise PackagesError where there is no archive."""

    def make(folder: Path) -> None:
        command = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={INCLUDED}", suite]
        done = subprocess.run(
            [*command, folder / "root", mirror()], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PackagesError(f"debootstrap {suite}: {done.stdout[-1000:]}{done.stderr}")
        root = folder / "root"
        (root / "etc/apt/sources.list").write_text(f"deb {mirror()} {suite} main\n")
        (root / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())

    return made_once(CACHE / "fresh" / suite, [suite, INCLUDED, mirror()], make) / "root"


@cache
def built_package(architecture: str = "amd64") -> Path:
    """Build the package of this checkout's last commit; once for all tests."""
    make = ["make", "-s", "-C", str(REPOSITORY), "deb", f"ARCH={architecture}"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    (made,) = REPOSITORY.glob(f"build/sockbpf_{__version__}_{architecture}.deb")
    return made


def skip_unless_has_turn(name: str, pytestconfig: pytest.Config) -> None:
    """Leave a test out if it is not today's turn of a release, or of arm64; `--every-choice` tries all."""
    is_today = TURNS.index(name) == today() % len(TURNS)
    if not is_today and not pytestconfig.getoption("--every-choice"):
        pytest.skip("another day's: --every-choice tries all")


@contextmanager
def fresh_host(suite: str) -> Iterator[Systemd]:
    """Start a host of the release, whose apt has read its archive; at the end nothing is left of it."""
    with running_systemd(fresh_root(suite)) as host:
        host.run("systemctl", "start", "systemd-tmpfiles-setup.service")  # as at a boot: it clears /tmp
        host.run("apt-get", "update", "-q", net=False)
        yield host


def apt(host: Systemd, *arguments: str) -> str:
    """Run apt-get there, where it reaches the archive; return what it said."""
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q", *arguments]
    return host.run(*command, net=False, timeout=500)
