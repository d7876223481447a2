# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The Ansible role: lint, and a rollout to fresh hosts with one store; a release a day, all by `--every-choice`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.live.systemd import REPOSITORY, Systemd
from tests.live.waiting import until
from tests.vm.fleet import Fleet, fleet
from tests.vm.fresh_hosts import SUITES, built_package, skip_unless_has_turn
from tests.vm.hanging import HUNG, started

TOKEN = "t0kenOfTheFleet"
GROUPS = {"sockbpf_stores": ["store"], "sockbpf_hosts": ["web1", "web2"]}
EVENTS = ["exceeded", "ongoing", "cleared", "started", "stopped"]
"""By `started` it is seen at once whether alerts are taken."""

ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {sys.argv[2]}"})
print(urllib.request.urlopen(request).read().decode())
"""


def variables(url: str, **settings: object) -> dict[str, dict[str, object]]:
    """Return those of all hosts and of each group, as the example of an inventory has them."""
    token = {"token": {"file": "/etc/sockbpf/token"}}
    return {
        "all": {
            "sockbpf_packages": {"x86_64": str(built_package())},
            "sockbpf_secrets": {"token": TOKEN},
            "sockbpf_settings": {
                "url": url,
                "http": token,
                "events": EVENTS,
                "store": {"listen": ""},
                **settings,
            },
        },
        "sockbpf_stores": {
            "sockbpf_store": True,
            "sockbpf_store_settings": {"url": url, "store": {"listen": "0.0.0.0:8080", **token}},
        },
    }


def recap(said: str) -> dict[str, dict[str, int]]:
    """Return the counts of each host."""
    lines = said.partition("PLAY RECAP")[2].splitlines()[1:]
    found = {line.split()[0]: re.findall(r"(\w+)=(\d+)", line) for line in lines if ":" in line}
    return {host: {name: int(count) for name, count in counts} for host, counts in found.items()}


def stored(host: Systemd, path: str) -> list[dict[str, object]]:
    said = host.run("/usr/bin/python3", "-c", ASK, f"http://127.0.0.1:8080{path}", TOKEN, check=False)
    return json.loads(said) if said.startswith("[") else []


def test_it_has_no_fault_that_ansible_lint_knows(tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    path = {"PATH": f"{tools}:{os.environ['PATH']}", "NO_COLOR": "1", "HOME": str(tmp_path)}
    lint = [str(tools / "ansible-lint"), "--offline", "--profile=production", "--strict", "ansible"]
    done = subprocess.run(
        lint, cwd=REPOSITORY, env=os.environ | path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES)
def test_rollout(suite: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    skip_unless_has_turn(suite, pytestconfig)
    with fleet(suite, ["store", "web1", "web2"], tmp_path) as hosts:
        url = f"http://{hosts.addresses['store']}:8080/alert"
        code, said = hosts.play(GROUPS, variables(url, heartbeat="30s"), "--check")
        assert code == 0, said
        code, said = hosts.play(GROUPS, variables(url, heartbeat="30s"))
        assert code == 0, said
        assert [counts["failed"] for counts in recap(said).values()] == [0, 0, 0]
        assert TOKEN not in said
        alerts_arrive(hosts)
        code, said = hosts.play(GROUPS, variables(url, heartbeat="30s"))
        assert code == 0, said
        assert [counts["changed"] for counts in recap(said).values()] == [0, 0, 0], said
        faulty_settings_reach_nobody(hosts, url)
        faulty_settings_of_the_store_do_not_end_it(hosts, url)
        nobody_takes_the_alerts(hosts)


def alerts_arrive(hosts: Fleet) -> None:
    """See a hang of any host in the store, with the host's name, whose it is and why."""
    for name in GROUPS["sockbpf_hosts"]:
        with started(hosts.hosts[name], HUNG) as hung:
            assert hung.stdout
            port = hung.stdout.readline().strip()
            path = f"/store.json?host={name}&port={port}&event=exceeded"
            (alert,) = until(partial(stored, hosts.hosts["store"], path), "the alert")
            assert (alert["comm"], alert["condition"]) == ("python3", "stalled")
            assert alert["reason"]


def faulty_settings_reach_nobody(hosts: Fleet, url: str) -> None:
    """See the first host refuse them and keep its own; the others are not touched."""
    code, said = hosts.play(GROUPS, variables(url, repeat="never"))
    assert code != 0
    assert "repeat" in said
    counts = recap(said)
    assert sum(each["failed"] for each in counts.values()) == 1
    assert "web2" not in counts
    for name in ("web1", "web2"):
        told = json.loads(hosts.hosts[name].run("sockbpf", "status", "--json"))
        assert told["state"] == "watching"


def faulty_settings_of_the_store_do_not_end_it(hosts: Fleet, url: str) -> None:
    faulty = variables(url)
    faulty["sockbpf_stores"] |= {"sockbpf_store_settings": {"url": url, "store": {"listn": "0.0.0.0:8080"}}}
    code, said = hosts.play(GROUPS, faulty, "--limit=store")
    assert code != 0
    assert "did you mean" in said
    assert hosts.hosts["store"].shown("sockbpf-store.service", "ActiveState") == "active"


def nobody_takes_the_alerts(hosts: Fleet) -> None:
    """See the rollout end at the first host from which nothing is delivered."""
    wrong = variables(f"http://{hosts.addresses['store']}:8081/alert")
    wrong["all"] |= {"sockbpf_taken_seconds": 2}
    code, said = hosts.play(GROUPS, wrong, "--limit=sockbpf_hosts")
    assert code != 0
    assert "web2" not in recap(said)
