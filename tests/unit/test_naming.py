# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose a socket is: what is found of this process, what stays when it is gone, and hostile files."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sockbpf.kernel.look.whose import Accounts, Cgroups, cgroup_in, cgroup_of_process, own_or_process
from sockbpf.monitor.naming import Naming
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Folded, Notice, alert_of
from sockbpf.record.event import NO_UID
from sockbpf.record.fields import parameters
from sockbpf.record.socket_row import NOBODY, Whose
from tests.unit.notices import TCP, notice

GONE = 2**22 + 1
"""No process has this number: include/linux/threads.h, PID_MAX_LIMIT."""


def told(naming: Naming, event: str, **changed: Any) -> Whose:
    (one,) = naming.named([notice(event, 1, 1, **changed)])
    assert isinstance(one, Notice)
    return one.whose


def test_what_is_found_stays_until_the_end() -> None:
    naming, own = Naming(), replace(TCP, uid=os.getuid())
    found = told(naming, EXCEEDED, socket=own, pid=os.getpid())
    assert (found.user, found.cgroup) == (pwd.getpwuid(os.getuid()).pw_name, cgroup_of_process(os.getpid()))
    nobody = replace(TCP, uid=NO_UID, inode=0)
    assert told(naming, ONGOING, socket=nobody, pid=GONE) == replace(found, pid=GONE)
    assert len(naming) == 1
    assert told(naming, CLEARED, socket=nobody, pid=GONE) == replace(found, pid=GONE)
    assert len(naming) == 0


def test_who_is_asked_for_alone_is_not_remembered() -> None:
    """So a queue that is silenced and crosses again and again displaces no other episode."""
    naming = Naming()
    one = notice(EXCEEDED, 1, 1, socket=replace(TCP, uid=os.getuid()), pid=os.getpid())
    assert naming.whose(one).cgroup == cgroup_of_process(os.getpid())
    assert len(naming) == 0


def test_of_nobody_nothing_is_told() -> None:
    assert told(Naming(), EXCEEDED, socket=replace(TCP, netns=1)) == NOBODY


@pytest.mark.parametrize(
    ("text", "cgroup"),
    [
        ("0::/system.slice/nginx.service\n", "/system.slice/nginx.service"),
        ("4:memory:/\n1:name=systemd:/system.slice/ssh.service\n0::/\n", "/system.slice/ssh.service"),
        ("4:memory:/docker/0a\n1:name=systemd:/docker/0a\n", "/docker/0a"),
        ("9:pids:/lxc/db\n4:memory:/\n", "/lxc/db"),
        ("4:memory:/other/0a\n1:name=systemd:/\n0::/user.slice\n", "/user.slice"),
        ("4:memory:/\n1:name=systemd:/\n0::/\n", "/"),
        ("0::/a:b:c\n", "/a:b:c"),
        ("0::/a\x0b0::/b\u20280::/c\n", "/a\x0b0::/b\u20280::/c"),
        ("0::/a/b.service (deleted)\n", "/a/b.service"),
        ("0::/a\r0::/b\n", "/a\r0::/b"),
        ("0::relative\n:\nbad\n", ""),
        ("", ""),
    ],
)
def test_the_cgroup_of_a_process_in_either_version(text: str, cgroup: str) -> None:
    assert cgroup_in(text) == cgroup


def test_a_cgroup_whose_name_is_no_text_can_be_told(tmp_path: Path) -> None:
    made = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n"))
    made.mkdir()
    (made / "cgroup.procs").write_text("17\n")
    cgroups = Cgroups(tmp_path)
    assert own_or_process(cgroups, made.stat().st_ino, "/process") == "/a\ufffd\n"
    assert cgroups.processes(made.stat().st_ino) == ["17"]
    assert own_or_process(cgroups, tmp_path.stat().st_ino, "/process") == "/process", "the root says nothing"
    assert own_or_process(cgroups, tmp_path.stat().st_ino, "") == "/"
    assert own_or_process(cgroups, 0, "") == ""


def test_unit_and_container_are_those_of_the_process() -> None:
    """It may have got the socket from another, as from systemd."""
    passed = Whose(cgroup="/system.slice/ssh.socket", process_cgroup="/system.slice/ssh.service")
    fields = fields_of(notice(EXCEEDED, 1, 1, whose=passed))
    assert (fields["unit"], fields["cgroup"]) == ("ssh.service", "/system.slice/ssh.socket")
    fields = fields_of(notice(EXCEEDED, 1, 1, whose=replace(passed, process_cgroup="")))
    assert fields["unit"] == "ssh.socket"


def test_the_number_of_a_process_that_is_gone_may_be_anothers() -> None:
    naming, own = Naming(), replace(TCP, cgroup=0)
    gone = told(naming, EXCEEDED, socket=own, pid=GONE)
    assert gone.process_cgroup == ""
    assert told(naming, ONGOING, socket=own, pid=os.getpid()).process_cgroup == cgroup_of_process(os.getpid())
    naming._known[notice(ONGOING, 1, 1).id] = Whose(pid=os.getpid(), process_cgroup="/was")
    assert told(naming, ONGOING, socket=own, pid=os.getpid()).process_cgroup == "/was"


def test_folded_alerts_are_passed_on() -> None:
    folded = Folded(notice(EXCEEDED, 2, 2), 7, ())
    assert Naming().named([folded]) == [folded]


def test_the_fields() -> None:
    path = f"/machine.slice/docker-{'0123456789abcdef' * 4}.scope/init.service"
    made = notice(EXCEEDED, 1, 1, whose=Whose(user="www", cgroup=path, netns_name="blue"))
    fields = parameters(alert_of(made, seq=1, host="here", unix_offset_ns=0))
    names = ("user", "unit", "container", "cgroup", "netns_name")
    assert [fields[name] for name in names] == ["www", "init.service", "0123456789ab", path, "blue"]
    assert not set(names) & fields_of(notice(EXCEEDED, 1, 1)).keys()


def fields_of(made: Notice) -> dict[str, str]:
    return parameters(alert_of(made, seq=1, host="here", unix_offset_ns=0))


def test_accounts_are_read_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    accounts = Accounts(file)
    assert accounts.name(7) == "7"
    file.write_text("lp:x:7:7::/:/bin/sh\nprinter:x:7:7::/:/bin/sh\n\nbad\n::::\nx:y:-1:\nz:y:\u0667:\n")
    assert (accounts.name(7), accounts.name(8)) == ("lp", "8")
    (tmp_path / "new").write_text("other:x:7:7::/:/bin/sh\n")
    (tmp_path / "new").rename(file)
    assert accounts.name(7) == "other"
    file.unlink()
    assert accounts.name(7) == "other"
