# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which thresholds no socket's buffer can reach is said, with the number that could be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockbpf.kernel.look.buffers import buffers, out_of_reach
from sockbpf.record.event import Direction

SYSCTLS = {
    "core/rmem_default": "212992", "core/rmem_max": "1000003", "core/wmem_default": "212992",
    "core/wmem_max": "300007", "ipv4/tcp_rmem": "4096\t131072\t6291456", "ipv4/tcp_wmem": "4096\t16384\t4194304",
    "ipv4/tcp_moderate_rcvbuf": "1",
}  # fmt: skip


def said(folder: Path, send: int, recv: int, **changed: str) -> list[str]:
    """Return what is said of these thresholds where the sysctls are as above but for those `changed`."""
    for name, value in (
        SYSCTLS | {name.replace("__", "/"): value for name, value in changed.items()}
    ).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{value}\n")
    return out_of_reach({Direction.SEND: send, Direction.RECV: recv}, buffers(folder))


def test_the_default_is_out_of_reach_of_udp(tmp_path: Path) -> None:
    assert said(tmp_path, 2**20, 2**20) == [
        (
            "thresholds > send: 1048576 bytes is out of reach of a UDP SEND buffer here: it has 212992 "
            "(net.core.wmem_default), and if the program sets SO_SNDBUF up to 600014; 170393 can be reached"
        ),
        (
            "thresholds > recv: 1048576 bytes is out of reach of a UDP RECV buffer here: it has 212992 "
            "(net.core.rmem_default), and up to 2000006 only if the program sets SO_RCVBUF; 170393 can be reached"
        ),
    ]


@pytest.mark.parametrize("threshold", [0, 170_393, 212_991])
def test_nothing_is_said_of_what_can_be_reached(tmp_path: Path, threshold: int) -> None:
    assert said(tmp_path, threshold, threshold) == []


def test_a_buffer_that_is_as_large_as_the_threshold_is_too_small(tmp_path: Path) -> None:
    (sentence,) = said(tmp_path, 0, 212_992)
    assert sentence.startswith("thresholds > recv: 212992 bytes is out of reach of a UDP RECV buffer")


def test_tcp_buffers_grow_to_their_greatest_size(tmp_path: Path) -> None:
    tcp = [sentence for sentence in said(tmp_path, 4_194_304, 6_291_455) if " TCP " in sentence]
    assert tcp == [
        (
            "thresholds > send: 4194304 bytes is out of reach of a TCP SEND buffer here: it has 4194304 "
            "(net.ipv4.tcp_wmem); 3355443 can be reached"
        )
    ]


def test_a_tcp_receive_buffer_that_does_not_grow_keeps_its_first_size(tmp_path: Path) -> None:
    sentences = said(tmp_path, 0, 131_072, ipv4__tcp_moderate_rcvbuf="0")
    assert sentences == [
        (
            "thresholds > recv: 131072 bytes is out of reach of a TCP RECV buffer here: it has 131072 "
            "(net.ipv4.tcp_rmem), and up to 2000006 only if the program sets SO_RCVBUF; 104857 can be reached"
        )
    ]


@pytest.mark.parametrize("missing", sorted(SYSCTLS))
def test_of_a_sysctl_that_is_not_there_nothing_is_said(tmp_path: Path, missing: str) -> None:
    """As in network namespaces other than the host's, on older kernels."""
    whole = said(tmp_path, 2**30, 2**30)
    (tmp_path / missing).unlink()
    left = out_of_reach({Direction.SEND: 2**30, Direction.RECV: 2**30}, buffers(tmp_path))
    assert len(whole) == 4
    assert 2 <= len(left) < 4
    assert set(left) < set(whole)
