# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A few fresh hosts with a network between them, and Ansible to manage them as it would any others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.live.systemd import REPOSITORY, Systemd
from tests.vm.fresh_hosts import fresh_host

NETWORK = "10.77.19"
SSH = """\
#!/bin/sh -e
# What Ansible takes for ssh: the last two words are the host and the command. The network is this machine's, for apt.
while [ $# -gt 2 ]; do shift; done
pid=$(cat "$(dirname "$0")/$1")
exec nsenter -t "$pid" --mount --pid --cgroup --uts --ipc --root="/proc/$pid/root" --wd="/proc/$pid/root/root" \\
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh -c "$2"
"""


@dataclass
class Fleet:
    """Hosts by name, the first of which has the network that all others hang on."""

    hosts: dict[str, Systemd]
    addresses: dict[str, str]
    folder: Path

    def play(
        self, groups: dict[str, list[str]], variables: dict[str, dict[str, object]], *options: str
    ) -> tuple[int, str]:
        """Run the playbook; return its exit code and what it said. Variables are by group, `all` among them."""
        children = {
            name: {
                "hosts": {host: {"ansible_host": self.addresses[host]} for host in hosts},
                "vars": variables.get(name, {}),
            }
            for name, hosts in groups.items()
        }
        inventory = self.folder / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"all": {"vars": variables["all"], "children": children}}))
        playbook = REPOSITORY / "ansible/rollout.yml"
        ansible = Path(sys.executable).with_name("ansible-playbook")
        settings = {
            "ANSIBLE_SSH_EXECUTABLE": str(self.folder / "ssh"),
            "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_HOME": str(self.folder / "home"),
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [ansible, "-i", inventory, *options, playbook],
            env=os.environ | settings, capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@contextmanager
def fleet(suite: str, names: list[str], folder: Path) -> Iterator[Fleet]:
    """Start the hosts; the kernel, and who watches it, is this machine's."""
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(fresh_host(suite)) for name in names}
        addresses = {name: f"{NETWORK}.{place}" for place, name in enumerate(names, 1)}
        first, *others = hosts.values()
        ip(first, "link add name net0 type bridge")
        ip(first, f"addr add {NETWORK}.1/24 dev net0")
        ip(first, "link set net0 up")
        for place, host in enumerate(others, 2):
            ip(first, f"link add port{place} type veth peer name eth0 netns {host.pid}")
            ip(first, f"link set port{place} master net0 up")
            ip(host, f"addr add {NETWORK}.{place}/24 dev eth0")
            ip(host, "link set eth0 up")
        for name, host in hosts.items():
            host.run("hostname", name)
            (folder / addresses[name]).write_text(str(host.pid))
        (folder / "ssh").write_text(SSH)
        (folder / "ssh").chmod(0o755)
        yield Fleet(hosts, addresses, folder)


def ip(host: Systemd, words: str) -> None:
    """Run a command of ip in the network of the host, where process ids are those of this machine."""
    subprocess.run(["nsenter", "-t", str(host.pid), "--net", "ip", *words.split()], check=True)
