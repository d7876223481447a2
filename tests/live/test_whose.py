# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Unit, container and cgroup of real sockets: in units, podman, systemd-nspawn; inherited, handed on, left behind."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import pytest

from sockbpf.kernel.look import whose
from sockbpf.kernel.look.cgroup_handle import handles_work
from sockbpf.kernel.look.whose import Cgroups, cgroup_of_process
from sockbpf.monitor.metric_families import BY_SERVICE
from tests.live.homes import DEAF_PORT, MANY, THRESHOLD, Homes, in_version_1, running_in
from tests.live.hung import families
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver, Told
from tests.live.systemd import CGROUP, running_systemd
from tests.live.waiting import until

HEX = "0123456789abcdef"


def where(alert: Told) -> tuple[str, str, str]:
    return alert.get("unit", ""), alert.get("container", ""), alert.get("cgroup", "")


def alone(match: dict[str, object]) -> dict[str, Any]:
    """Return settings by which no other sockets of this machine are over."""
    return {
        "thresholds": thresholds(1 << 30),
        "repeat": "1s",
        "rules": [{"match": match, "thresholds": thresholds(THRESHOLD)}],
    }


def of_process(receiver: Receiver, comm: str) -> list[Told]:
    """Return all alerts that name a process so: of each socket one at least, as soon as there was time to look."""

    def named() -> list[Told]:
        told = receiver.alerts(comm=comm)
        return told if len({each["id"] for each in told}) == MANY else []

    return until(named, lambda: f"{MANY} of {comm}: {len(receiver.alerts(comm=comm))}")  # type: ignore[no-any-return]


def test_unit_container_and_cgroup_are_right(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """Each of many sockets of each scene, while it hangs; and when its unit is gone."""
    systemd = stack.enter_context(running_systemd())
    at = f"/{cgroup_of_process(systemd.pid).split('/')[1]}"
    system = f"{at}/system.slice"
    stack.callback(
        lambda: print(systemd.run("journalctl", "--no-pager", "-n", "40", "_TRANSPORT=stdout", check=False))
    )
    homes = Homes.of(systemd)
    homes.unit("deaf", "deaf")
    homes.unit("orphans", "orphans")
    place = os.stat(f"/proc/{systemd.pid}/ns/net").st_ino
    api = homes.podman_service()
    listen = f"127.0.0.1:{free_port()}"
    settings = alone({"netns": place})
    contained = {"name": "contained", "match": {"netns": place, "container": ["*"]}}
    settings["rules"].insert(0, contained | {"thresholds": thresholds(THRESHOLD)})
    start_monitor(**settings, owner={"containers": str(api)}, metrics={"listen": listen})

    orphans = receiver.count(MANY, event="exceeded", type="SEND", remote_port=DEAF_PORT)
    assert {where(each) for each in orphans} == {("orphans.service", "", f"{system}/orphans.service")}
    assert not any("pid" in each for each in orphans)

    homes.unit("orders", "own")
    homes.unit("forked", "fork")
    homes.passed()
    homes.handed()
    homes.nspawn()
    podman = homes.podman()
    homes.podman_in_unit()
    (web,) = {each["container"] for each in of_process(receiver, "web")}
    assert len(web) == 12
    assert set(web) <= set(HEX)
    ids = {"podman": podman[:12], "web": web}
    box = "systemd-nspawn@box\\x2d1.service"
    expected = {
        "orders": ("orders.service", "", f"{system}/orders.service"),
        "forked-child": ("forked.service", "", f"{system}/forked.service"),
        "passed": ("passed.service", "", f"{system}/passed.socket"),
        "taker": ("taker.service", "", f"{system}/giver.service"),
        "nspawn": (box, "box-1", f"{at}/machine.slice/{box}/payload"),
        "podman": ("", podman[:12], f"{at}/libpod_parent/libpod-{podman}"),
    }
    for comm, right in expected.items():
        assert {where(each) for each in of_process(receiver, comm)} == {right}
    rules = {comm: {each["rule"] for each in of_process(receiver, comm)} for comm in (*expected, "web")}
    assert rules == {comm: {"contained" if comm in (*ids, "nspawn") else "rule-2"} for comm in rules}
    for name in ("podman", "web"):
        receiver.count(MANY, container_name=name)
        assert {each["container"] for each in receiver.alerts(container_name=name)} == {ids[name]}
    for each in receiver.alerts(comm="web"):
        unit, _, cgroup = where(each)
        assert unit == "web.service"
        assert cgroup.startswith(f"{system}/web.service/libpod-payload-{web}")

    shown = families(listen)["sockbpf_queue_sockets"].samples
    sockets = {tuple(each.labels[name] for name in BY_SERVICE): each.value for each in shown}
    for unit in ("orders.service", "forked.service", "passed.service", "giver.service", box, "web.service"):
        assert sockets["udp", "RECV", unit] == MANY, sockets
    assert sockets["tcp", "SEND", "orphans.service"] == sockets["tcp", "RECV", "deaf.service"] == MANY

    for unit in ("orders", "forked", "taker", box, "web"):
        systemd.run("systemctl", "kill", "-s", "KILL", unit)
    for comm in ("orders", "forked-child", "taker", "nspawn"):
        assert {where(each) for each in receiver.count(MANY, event="cleared", comm=comm)} == {expected[comm]}


def test_the_path_of_a_cgroup_is_found_without_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """And stays known when it is gone, with all that was in it."""
    assert CGROUP
    group = CGROUP / f"sockbpf-test-{os.getpid()}" / "a b.service"
    group.mkdir(parents=True)
    try:
        number, cgroups = group.stat().st_ino, Cgroups(CGROUP)
        monkeypatch.setattr(whose, "_folders", lambda _: pytest.fail("it has walked"))
        assert cgroups.path(number) == f"/{group.relative_to(CGROUP)}"
        assert cgroups.path(CGROUP.stat().st_ino) == "/"
        assert cgroups.processes(number) == []
    finally:
        group.rmdir()
        group.parent.rmdir()
    assert cgroups.path(number) == f"/{group.relative_to(CGROUP)}"
    assert Cgroups(CGROUP).path(number) is None
    assert not handles_work("/")


def test_a_container_of_version_1_alone(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """There the sockets are at the root of cgroup2: the process says where it lives."""
    id_ = HEX * 4
    start_monitor(**alone({"process": "v1"}))
    processes = stack.enter_context(in_version_1(f"/docker/{id_}"))
    stack.enter_context(running_in(processes, "v1"))
    assert {where(told) for told in of_process(receiver, "v1")} == {("", id_[:12], f"/docker/{id_}")}
