# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The image, really built, and the services of compose.yaml run from it: by a podman with all files in one folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.live.cgroups import remove_podmans
from tests.vm.fresh_hosts import fresh_root
from tests.vm.packages import ROOT_SUITE
from tests.vm.wheels import wheels

REPOSITORY = Path(__file__).parents[2]
BASE = "docker.io/library/debian:12-slim"
"""The name of the base in the Dockerfile, which here is a Debian of this machine's own archive."""

PIP = "[global]\nno-index = true\nfind-links = /wheels\n"
LEFT_OUT = (
    "--pids-limit=0",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=4096:4096",
    "--health-interval=disable",
)
"""Limits that this machine may not set, and timers, which take a systemd."""


@dataclass(frozen=True)
class Podman:
    """A podman with images, containers and volumes of its own."""

    folder: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its commands; fail with what it said."""
        own = (f"--root={self.folder}/store", f"--runroot={self.folder}/run", "--events-backend=none")
        podman = ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs", *own, *command]
        done = subprocess.run(podman, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def build(self) -> None:
        """Build the image `sockbpf`; raise PackagesError where there is no archive of Debian."""
        base = self.folder / "base.tar"
        subprocess.run(
            ["tar", "-C", fresh_root(ROOT_SUITE), "--exclude=./dev/*", "-cf", base, "."], check=True
        )
        self.run("import", str(base), BASE)
        base.unlink()
        (self.folder / "pip.conf").write_text(PIP)
        mounts = (f"{wheels()}:/wheels:ro", f"{self.folder}/pip.conf:/etc/pip.conf:ro")
        options = ("--format=docker", "--network=host", "--isolation=chroot", "--pull=never")
        self.run("build", *options, *(f"--volume={mount}" for mount in mounts), "--tag=sockbpf", ".")

    def start(self, name: str, service: dict[str, Any], settings: Path) -> None:
        """Start a service of compose.yaml with these settings."""
        self.run(
            "run",
            "--detach",
            f"--name={name}",
            *LEFT_OUT,
            *options_of(service, settings),
            *command_of(service),
        )

    def health(self, name: str) -> str:
        """Have it asked for its health, as is done in intervals; return what it is by now."""
        self.run("healthcheck", "run", name, check=False)
        return self.inspect(name, "{{.State.Health.Status}}")

    def passes(self, name: str, service: dict[str, Any]) -> bool:
        """Whether the health check that compose.yaml has for a service passes."""
        how, *command = service["healthcheck"]["test"]
        assert how == "CMD"
        return self.run("exec", name, *command, check=False).returncode == 0

    def inspect(self, name: str, form: str) -> str:
        return self.run("inspect", f"--format={form}", name).stdout.strip()

    def remove(self) -> None:
        """Remove all that it has made."""
        self.run("rm", "--all", "--force", "--volumes", "--time=1", check=False)
        self.run("rmi", "--all", "--force", check=False)
        remove_podmans()


def services() -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml."""
    return yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]  # type: ignore[no-any-return]


def options_of(service: dict[str, Any], settings: Path) -> list[str]:
    """Return the options of `podman run` that say the same, with other settings."""
    lists = {"cap_drop": "cap-drop", "cap_add": "cap-add", "tmpfs": "tmpfs", "volumes": "volume"}
    options = [f"--{option}={value}" for key, option in lists.items() for value in service.get(key, ())]
    options += [f"--security-opt={value.replace(':', '=', 1)}" for value in service["security_opt"]]
    options = [
        f"--volume={settings}:/etc/sockbpf/config.yaml:ro" if "/config.yaml:" in one else one
        for one in options
    ]
    options += [f"--{key}={service[key]}" for key in ("pid", "user") if key in service]
    return [
        *options,
        f"--network={service['network_mode']}",
        f"--read-only={json.dumps(service['read_only'])}",
    ]


def documented(settings: Path) -> list[str]:
    """Return what docs/container.md tells to type for one container, without `docker run -d`, with these settings."""
    block = re.search(r"(?ms)^docker run .*?$(?<!\\)", (REPOSITORY / "docs/container.md").read_text())
    assert block
    script = 'docker() { printf "%s\\n" "$@"; }\n' + block[0]
    said = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    words = said.stdout.replace(f"{REPOSITORY}/config.yaml", str(settings)).splitlines()
    assert words[:2] == ["run", "-d"]
    limit = words.index("--ulimit")  # of locked memory, which this machine may not set
    return words[2:limit] + words[limit + 2 :]


def command_of(service: dict[str, Any]) -> list[str]:
    return [str(service["image"]), *service.get("command", ())]


def podman(stack: ExitStack, folder: Path) -> Podman:
    """Return a podman that has built the image; what it makes ends with the stack."""
    made = Podman(folder)
    stack.callback(made.remove)
    made.build()
    return made


def folder_of_a_pod(path: Path, group: int) -> Path:
    """Make a folder as Kubernetes makes a volume with `fsGroup`: root's, and the group may write."""
    path.mkdir()
    os.chown(path, 0, group)
    path.chmod(0o2775)
    return path
