# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Debian packages, fetched and unpacked, never installed: by apt with a state of its own in the cache.

The addresses are those this machine already uses, so a local mirror is used and nothing else is asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.vm.kernels import KERNELS
from tests.vm.machines import HERE

CACHE = Path(__file__).parents[2] / ".cache" / "vm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SYSTEM_SOURCES = Path("/etc/apt")
TOOLS_SUITE = "trixie"
"""Whose qemu is used: 7.2, of the release before, lost a 6.12 kernel to a double fault (cmpxchg16b)."""

ROOT_SUITE = "bookworm"
BACKPORTS = "bookworm-backports"
"""What tests of newer servers take from; all else that such a server needs is of ROOT_SUITE."""

EDITION = 2
"""To be raised when something is made in another way, so that it is made anew where it lies in a cache."""

LISTS_KEPT_S = 24 * 3600


class PackagesError(Exception):
    """What is needed cannot be fetched here: no Debian mirror, no network, no such package."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Packages of one architecture, with their versions."""

    architecture: str
    versions: dict[str, str]


def mirror(sources: Path = SYSTEM_SOURCES) -> str:
    """Return the address of the Debian archive that this machine uses."""
    lines = "\n\n".join(path.read_text() for path in sorted(sources.glob("sources.list.d/*.sources")))
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", lines)):
        fields = dict(re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", stanza))
        if fields.get("Enabled") != "no" and is_archive(
            fields.get("Suites", ""), fields.get("Components", "")
        ):
            return str(fields["URIs"].split()[0])
    plain = [sources / "sources.list", *sorted(sources.glob("sources.list.d/*.list"))]
    for line in "\n".join(path.read_text() for path in plain if path.exists()).splitlines():
        found = re.fullmatch(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)", line.strip())
        if found and is_archive(found[2], found[3]):
            return found[1]
    raise PackagesError(f"no Debian archive in {sources}")


def is_archive(suites: str, components: str) -> bool:
    """Whether it is a whole release of Debian, not its security updates, nor another's packages."""
    released = {"bullseye", "bookworm", "trixie", "forky", "stable", "testing", "sid", "unstable"}
    return bool(released & set(suites.split())) and "main" in components.split()


def state(architecture: str) -> Path:
    """Return the folder of one architecture's state: for apt each is a machine of its own."""
    return CACHE / "apt" / architecture


def suites(architecture: str) -> Iterable[str]:
    """Return what packages of this architecture are taken from."""
    of_kernels = [kernel.suite for kernel in KERNELS if kernel.machine.debian == architecture]
    of_servers = [BACKPORTS] if architecture == HERE else []
    return dict.fromkeys([ROOT_SUITE, *of_servers, TOOLS_SUITE, *of_kernels])


def apt(architecture: str, tool: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run apt-get or apt-cache on the private state; return what it said."""
    folder = state(architecture)
    private = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "state" / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    options = [f"-o{name}={value}" for name, value in private.items()]
    command = [tool, "-q", *options, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackagesError(f"{tool} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def update(architecture: str) -> None:
    """Fetch the lists of all suites, unless that was done lately: an old list names packages that are gone."""
    own = state(architecture)
    updated, sources = own / "updated", own / "sources.list"
    address = mirror()
    lines = (f"deb [signed-by={KEYRING}] {address} {suite} main\n" for suite in suites(architecture))
    wanted = "".join(lines)
    is_new = updated.exists() and time.time() - updated.stat().st_mtime < LISTS_KEPT_S
    if is_new and sources.read_text() == wanted:
        return
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (own / folder).mkdir(parents=True, exist_ok=True)
    (own / "state" / "status").touch()
    sources.write_text(wanted)
    apt(architecture, "apt-get", "update")
    updated.touch()


def closure(suite: str, names: Iterable[str], wanted: str = "", architecture: str = HERE) -> Packages:
    """Return all packages that these need, themselves included.

    `wanted` is a regular expression that leaves out the others.
    """
    update(architecture)
    simulate = ("apt-get", "install", "--simulate", f"--target-release={suite}")
    found = re.findall(r"(?m)^Inst (\S+) \((\S+) ", apt(architecture, *simulate, *names))
    return Packages(architecture, {name: version for name, version in found if re.match(wanted, name)})


def fetch(packages: Packages) -> list[Path]:
    """Download what is not there yet; return the files."""
    archives = state(packages.architecture) / "debs"
    archives.mkdir(parents=True, exist_ok=True)

    def files() -> dict[str, Path]:
        # name_version_architecture.deb, where the version's colon is written %3a
        return {"_".join(path.name.split("_")[:2]): path for path in archives.glob("*.deb")}

    versions = packages.versions
    keys = {f"{name}_{version.replace(':', '%3a')}": name for name, version in versions.items()}
    missing = [f"{name}={versions[name]}" for key, name in keys.items() if key not in files()]
    if missing:
        apt(packages.architecture, "apt-get", "download", *missing, cwd=archives)
    return [files()[key] for key in keys]


def unpack(packages: Packages, into: Path) -> None:
    """Unpack into a folder that has one /usr, as every release since 12: what lies beside it is put there."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (into / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (into / name).is_symlink():
            (into / name).symlink_to(f"usr/{name}")
    for deb in fetch(packages):
        tar = ["tar", "-x", "--keep-directory-symlink", "-C", str(into)]
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as content:
            subprocess.run(tar, stdin=content.stdout, check=True)
        if content.returncode:
            raise PackagesError(f"{deb} cannot be unpacked")


def installed(packages: Packages) -> str:
    """Return what dpkg's own list says where these are installed: by it dpkg judges what others need."""
    says = ["dpkg-deb", "--field"]
    fields = [subprocess.check_output([*says, str(deb)], text=True) for deb in fetch(packages)]
    return "\n".join(f"Status: install ok installed\n{each}" for each in fields)


def made_once(folder: Path, recipe: object, make: Callable[[Path], None]) -> Path:
    """Return the folder, made anew unless it was made whole from this very recipe before."""
    stamp = folder / ".made"
    text = json.dumps([EDITION, recipe], indent=1)
    if stamp.exists() and stamp.read_text() == text:
        return folder
    print(f"making {folder}, once", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    stamp.write_text(text)
    return folder
