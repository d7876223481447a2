# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is refused and what is cleared away on old kernels."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach import legacy
from sockbpf.kernel.attach.legacy import refuse_if_it_can_panic, sweep_stale_kprobes


@pytest.mark.parametrize("based_on", ["4.4.114", "4.4.117", "4.4.127"])
def test_a_build_that_can_panic_is_refused_with_the_remedy(tmp_path: Path, based_on: str) -> None:
    signature = tmp_path / "version_signature"
    signature.write_text(f"Ubuntu 4.4.0-119.143-generic {based_on}\n")
    with pytest.raises(UnsupportedError, match="risk_panic"):
        refuse_if_it_can_panic(signature)


@pytest.mark.parametrize(
    "text",
    [
        "Ubuntu 4.4.0-21.37-generic 4.4.6\n",
        "Ubuntu 4.4.0-112.135-generic 4.4.98\n",
        "Ubuntu 4.4.0-130.156-generic 4.4.134\n",
        "Ubuntu 4.15.0-20.21-generic 4.15.17\n",
        "Ubuntu 4.4.0-210.242-generic 4.4.262\n",
        "",
    ],
)
def test_other_builds_are_not(tmp_path: Path, text: str) -> None:
    signature = tmp_path / "version_signature"
    signature.write_text(text)
    refuse_if_it_can_panic(signature)


def test_other_distributions_have_no_signature(tmp_path: Path) -> None:
    refuse_if_it_can_panic(tmp_path / "version_signature")


def test_only_stale_lines_of_our_functions_are_removed(tmp_path: Path) -> None:
    events = tmp_path / "tracing" / "kprobe_events"
    events.parent.mkdir()
    (tmp_path / "proc" / "200").mkdir(parents=True)
    kept = (
        "p:kprobes/p_tcp_ack_bcc_200 tcp_ack\n"  # its process lives
        "p:kprobes/p_vfs_read_bcc_100 vfs_read\n"  # another tool's
        "p:kprobes/myprobe tcp_ack\n"  # written by hand
    )
    events.write_text(
        kept
        + "p:kprobes/p_tcp_ack_bcc_100 tcp_ack\n"
        + "r512:kprobes/r_udp_sendmsg_bcc_100 udp_sendmsg\n"
        + "p:kprobes/p_release_sock_bcc_101 release_sock+0\n"
    )
    before = events.read_text()
    removed = sweep_stale_kprobes(
        {"tcp_ack", "udp_sendmsg", "release_sock"}, (tmp_path / "no", events.parent), tmp_path / "proc"
    )
    assert removed == [
        "kprobes/p_tcp_ack_bcc_100",
        "kprobes/r_udp_sendmsg_bcc_100",
        "kprobes/p_release_sock_bcc_101",
    ]
    assert events.read_text() == before + "".join(f"-:{name}\n" for name in removed)


def test_a_line_in_use_after_all_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of another pid namespace may have written it: the kernel refuses, the start goes on."""
    events = tmp_path / "kprobe_events"
    events.write_text("p:kprobes/p_tcp_ack_bcc_100 tcp_ack\n")

    def busy(*_: object) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "write", busy)
    assert sweep_stale_kprobes({"tcp_ack"}, (tmp_path,), tmp_path / "proc") == []


@pytest.mark.parametrize(
    ("unit", "lines", "expected"), [(True, True, True), (False, True, False), (False, False, True)]
)
def test_raw_tracepoints_came_with_the_unit_of_kprobes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: bool, lines: bool, expected: bool
) -> None:
    """Without kprobes the kernel's age does not show: they are tried."""
    monkeypatch.setattr(legacy, "UNIT", tmp_path / "unit")
    monkeypatch.setattr(legacy, "TRACING", (tmp_path,))
    if unit:
        (tmp_path / "unit").touch()
    if lines:
        (tmp_path / "kprobe_events").touch()
    assert legacy.has_raw_tracepoints() is expected


def test_without_tracefs_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert sweep_stale_kprobes({"tcp_ack"}, (tmp_path / "no",)) == []
