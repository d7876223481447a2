# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The templates for Zabbix: whole in themselves, and what they make of a status, whatever names a process has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sockbpf.delivery.destinations.zabbix_message import ITEM
from tests.live.zabbix.templates import AGENT, TRAPPER, names_in, templates

FOLDER = Path(__file__).parents[2] / "zabbix"
TEXT = (FOLDER / "sockbpf.yaml").read_text()
QUEUE = {
    "since": 1795343123.5, "held": False, "protocol": "tcp", "local_ip": "10.0.0.1", "local_port": 443,
    "remote_ip": "10.0.0.7", "remote_port": 40009, "type": "RECV", "condition": "stalled", "severity": "warning",
    "size": 126216, "threshold": 1024, "duration": 41.3, "id": "e", "netns": 1, "mode": "ebpf", "comm": "nginx",
}  # fmt: skip
STATUS = {
    "version": "1", "state": "watching", "blind": [], "mode": "ebpf", "unseen": ["a", "b"], "looked": 0.8, "over": 1,
    "stalled": 2, "held": 0, "oldest": 41.3, "open": [QUEUE], "owed": 7, "oldest_owed": 0, "lost": 3, "counters": {},
}  # fmt: skip


def within(value: Any, key: str) -> Iterator[Any]:
    """Yield every value of this key, however deep."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == key:
                yield each
            yield from within(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from within(each, key)


def test_every_uuid_is_one_and_there_once() -> None:
    found = [uuid.UUID(each) for each in within(yaml.safe_load(TEXT), "uuid")]
    assert len(found) == len(set(found)) > 30
    assert {each.version for each in found} == {4}
    assert all(each.variant == uuid.RFC_4122 for each in found)


@pytest.mark.parametrize("name", [AGENT, TRAPPER])
def test_all_that_is_used_is_there(name: str) -> None:
    its, names = templates(TEXT)[name], names_in(TEXT, name)
    keys = names["items"] | names["item prototypes"]
    expressions = [*within(its, "expression"), *within(its, "recovery_expression")]
    used = {key for each in expressions for key in re.findall(rf"/{name}/([^,()]*)", each)}
    assert used <= keys
    assert {each["key"] for each in within(its, "master_item")} <= names["items"]
    # A context names a service; the macro without it is the default.
    macros = {
        re.sub(r':".*"', "", each)
        for each in re.findall(r'\{\$[A-Z.]+(?::"[^"]*")?\}', yaml.dump(its, width=10**9))
    }
    assert macros <= names["macros"]
    assert all("#{$" not in each for each in expressions)  # an import leaves such a trigger out


def test_the_trapper_item_is_that_of_the_destination() -> None:
    (item,) = (item for item in templates(TEXT)[TRAPPER]["items"] if item["type"] == "TRAP")
    assert (item["key"], item["value_type"]) == (ITEM, "TEXT")


def made_of(said: str) -> dict[str, Any]:
    """Return what the script of the master item makes of what the agent got."""
    node = shutil.which("node") or pytest.skip("no Node here")
    (script,) = (
        step["parameters"][0] for step in within(yaml.safe_load(TEXT), "preprocessing") for step in step
        if step["type"] == "JAVASCRIPT"
    )  # fmt: skip
    asked = json.dumps({"script": script, "value": said})
    program = (
        "const {script, value} = JSON.parse(require('fs').readFileSync(0));"
        "process.stdout.write(new Function('value', script)(value))"
    )
    done = subprocess.run([node, "-e", program], input=asked, capture_output=True, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_a_status_is_summed_up_by_service() -> None:
    client = QUEUE | {"local_port": 51000, "remote_port": 5432, "condition": "size", "severity": "critical"}
    rate = {key: QUEUE[key] for key in ("held", "netns", "size", "duration", "severity")}
    queues = [
        QUEUE, client, QUEUE | {"remote_port": 40011, "duration": 50.6}, QUEUE | {"held": True, "local_port": 22},
        rate | {"name": "UdpRcvbufErrors", "type": "RATE", "condition": "rate"},
    ]  # fmt: skip
    made = made_of(f"sudo: unable to resolve host\n{json.dumps(STATUS | {'open': queues})}\n")
    services = {each.pop("service"): each for each in made.pop("services")}
    assert list(services) == ["tcp 443", "tcp 5432", "UdpRcvbufErrors"]
    counts = {
        name: (its["over"], its["stalled"], its["critical"], its["oldest"]) for name, its in services.items()
    }
    assert counts == {
        "tcp 443": (0, 2, 0, 50.6),
        "tcp 5432": (1, 0, 1, 41.3),
        "UdpRcvbufErrors": (1, 0, 0, 41.3),
    }
    assert services["tcp 443"]["worst"] == (
        "nginx RECV stalled at 126216 on 10.0.0.1 port 443 to 10.0.0.7 port 40009 for 41 s"
    )
    assert services["UdpRcvbufErrors"]["worst"] == "- RATE rate at 126216 for 41 s"
    kept = (
        "version",
        "state",
        "mode",
        "looked",
        "over",
        "stalled",
        "held",
        "oldest",
        "owed",
        "oldest_owed",
        "lost",
    )
    assert made == {key: STATUS[key] for key in kept} | {"blind": "", "unseen": "a; b"}


def test_names_that_users_choose_are_plain() -> None:
    nasty = "\"]'.,$(\n\u202e{#A}{$B}"
    queue = QUEUE | {"comm": nasty, "name": nasty * 9}
    (service,) = made_of(json.dumps(STATUS | {"open": [queue]}))["services"]
    assert re.fullmatch(r"[A-Za-z0-9_.:/@ -]{1,64}", service["service"])
    assert re.fullmatch(r"[A-Za-z0-9_.:/@ -]{1,255}", service["worst"])


def test_services_are_bounded() -> None:
    queues = [QUEUE | {"local_port": 1000 + n} for n in range(100)]
    services = made_of(json.dumps(STATUS | {"open": queues}))["services"]
    assert len(services) == 21
    assert (services[-1]["service"], services[-1]["stalled"]) == ("others", 80)


@pytest.mark.parametrize(
    ("said", "blind"),
    [
        ("", "no answer"),
        ("no monitor answers at /run/x: \x1b[1mrefused\n", "no monitor answers at /run/x:  [1mrefused"),
        ('{"state":', '{"state":'),
        ("x" * 900, "x" * 255),
    ],
)
def test_no_status_is_a_state_with_the_reason(said: str, blind: str) -> None:
    assert made_of(said) == {"state": "none", "blind": blind}


def test_of_a_monitor_that_hangs_no_figures_are_made_up() -> None:
    made = made_of(json.dumps({"state": "hangs", "version": "1", "pid": 7, "blind": ["the loop", "x"]}))
    assert made == {"state": "hangs", "version": "1", "blind": "the loop; x", "unseen": ""}
