# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What of a cgroup's path becomes a metric's label: what lasts, and what no local user has chosen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.record.service import MOST_CHARACTERS, NOWHERE, Home, home_of

ID = "0123456789abcdef" * 4
CONNECTION = "0-192.0.2.1:22-198.51.100.7:50021"
OF_USER = "/user.slice/user-1000.slice"


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        ("/system.slice/db.service/workers/evil.service", "db.service"),
        ("/system.slice/dbus.socket", "dbus.service"),
        (f"/system.slice/system-sshd.slice/sshd@{CONNECTION}.service", "sshd@*.service"),
        ("/system.slice/x@7-2001:db8::1:22-2001:db8::2:50021.service", "x@*.service"),
        ("/system.slice/systemd-coredump@5-4711-0.service", "systemd-coredump@*.service"),
        ("/system.slice/run-u417.service", "run-*.service"),
        ("/system.slice/run-rc0ffee00c0ffee00c0ffee00c0ffee00.scope", "run-*.scope"),
        (f"/system.slice/{ID}-5f3e9.service", "*-5f3e9.service"),
        ("/machine.slice/systemd-nspawn@web.service/payload/evil.service", "systemd-nspawn@web.service"),
        (f"{OF_USER}/session-c417.scope", "user-1000.slice"),
        (f"{OF_USER}/user@1000.service/app.slice/nginx.service", "user-1000.slice"),
        (f"{OF_USER}/user@1000.service/system.slice/nginx.service", "user-1000.slice"),
        ('/system.slice/a\nb\u202e{}".service', "a_b____.service"),
        (f"/system.slice/{'x' * 300}.service", "x" * MOST_CHARACTERS),
    ],
)
def test_a_unit_is_named_by_what_lasts(cgroup: str, unit: str) -> None:
    assert home_of(cgroup) == Home(unit)


@pytest.mark.parametrize("scope", ["docker", "libpod", "cri-containerd"])
def test_a_container_is_not_named_by_its_number(scope: str) -> None:
    home = home_of(f"/machine.slice/{scope}-{ID}.scope/system.slice/inner.service")
    assert home == Home(f"{scope}-*.scope", is_container=True)


@pytest.mark.parametrize(
    "cgroup",
    [
        "",
        "/",
        "/init.scope",
        f"/docker/{ID}",
        "/lxc/evil.service",
        "/lxc.payload.c/evil.service",
        "/system.slice",
    ],
)
def test_what_has_no_unit_of_the_host_has_none(cgroup: str) -> None:
    assert home_of(cgroup) == NOWHERE


@given(st.text() | st.from_regex(r"(/[ -~]{1,20}(\.service|\.scope|\.socket)?){1,4}", fullmatch=True))
def test_whatever_a_cgroup_is_called_the_label_is_harmless(cgroup: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9:_.@*\\-]{0,64}", home_of(cgroup).unit)
