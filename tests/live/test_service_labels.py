# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which services the metrics show: no local user makes their labels many, and without hooks they are the same."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockbpf.judge.services import MOST, MOST_OF_A_USER
from sockbpf.kernel.look.whose import cgroup_root
from sockbpf.record.service import OTHER
from tests.live.cgroups import cgroup_made
from tests.live.hung import BACKLOG, UNREAD, Hung, families, scraped
from tests.live.monitoring import StartMonitor
from tests.live.ports import free_port
from tests.live.sockets import ss

NOBODY = 65_534
PORTS = 1500
UNITS = 60

CROWD = """
import os, resource, socket, sys
root, units, ports = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
resource.setrlimit(resource.RLIMIT_NOFILE, (len(ports) + 200, len(ports) + 200))
made = []
def holding(port):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", int(port)))
    sender.sendto(b"x", one.getsockname())
    made.append(one)
def move(cgroup):
    with open(f"{root}/{cgroup}/cgroup.procs", "w") as file:
        file.write("0")
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
move("system.slice/sb-web.service")
holding(ports[0])
for number in range(units):
    move(f"user.slice/user-65534.slice/evil-{number}.service")
    holding(0)
move(".")
os.setresuid(65534, 65534, 65534)
for port in ports[1:]:
    try:
        holding(port)
    except OSError:
        pass
print(len(made) - units - 1, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cgroups(stack: ExitStack) -> Path:
    """Make the cgroups of a service, and of units of one user; return the root of all."""
    root = cgroup_root()
    if root is None:
        pytest.skip("no cgroup2 here")
    of_user = root / "user.slice" / f"user-{NOBODY}.slice"
    for folder in (
        root / "system.slice" / "sb-web.service",
        *(of_user / f"evil-{n}.service" for n in range(UNITS)),
    ):
        try:
            stack.enter_context(cgroup_made(folder))
        except OSError as fault:
            pytest.skip(f"no cgroup can be made here: {fault}")
    return root


def test_no_user_makes_the_labels_many(start_monitor: StartMonitor, stack: ExitStack, cgroups: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    start_monitor(metrics={"listen": listen})
    web = free_port()
    ports = random.sample(sorted({*range(10_000, 32_000)} - {web}), PORTS)
    command = [sys.executable, "-c", CROWD, str(cgroups), str(UNITS), str(web), *map(str, ports)]
    crowd = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    assert crowd.stdout
    made = int(crowd.stdout.readline())
    assert made > PORTS * 0.9, "some ports may be taken"
    begun_s = time.monotonic()
    shown = families(listen)
    print(f"{time.monotonic() - begun_s:.3f} s for a scrape that shows {made} ports")
    sizes = {
        sample.labels["service"]: sample.value
        for sample in shown["sockbpf_queue_sockets"].samples
        if sample.labels["protocol"] == "udp"
    }
    assert sizes["sb-web.service"] == 1
    assert sizes[f"user-{NOBODY}.slice"] == UNITS
    assert not [name for name in sizes if "evil" in name]
    assert len(sizes.keys() & set(map(str, ports))) == MOST_OF_A_USER
    assert sizes[OTHER] >= made - MOST_OF_A_USER
    services = {sample.labels.get("service") for family in shown.values() for sample in family.samples}
    assert len(services - {None, OTHER}) <= MOST
    (unnamed,) = shown["sockbpf_services_unnamed"].samples
    assert unnamed.value >= made - MOST_OF_A_USER
    crowd.communicate()


def test_without_hooks_and_iterators_the_same_is_shown(start_monitor: StartMonitor, stack: ExitStack) -> None:
    listen = f"127.0.0.1:{free_port()}"
    hung = Hung(stack)
    start_monitor(metrics={"listen": listen}, kernel={"hooks": "none", "look": "sock_diag"})
    shown = {
        (name, sample.labels.get("service", "")): sample.value
        for name, family in families(listen).items()
        for sample in family.samples
    }
    assert shown["sockbpf_queue_bytes", str(hung.tcp_port)] == UNREAD
    assert shown["sockbpf_queue_bytes", str(hung.udp_port)] == ss(hung.udp)[0]
    assert shown["sockbpf_accept_queue_connections", str(hung.tcp_port)] == BACKLOG + 1
    assert 'sockbpf_mode{mode="poll"} 1.0' in scraped(listen)
    assert re.findall(r"^sockbpf_hooks_missing.*", scraped(listen), re.MULTILINE) == [
        'sockbpf_hooks_missing{unseen="all"} 1.0'
    ]
