# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A namespace is passed over only where the kernel says that it has no socket of the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockbpf.kernel.look.in_use import in_use
from sockbpf.record.event import Protocol

EMPTY = "sockets: used 9\nTCP: inuse 0 orphan 0 tw 7 alloc 9 mem 3\nUDP: inuse 0 mem 2\nUDPLITE: inuse 5\n"
EMPTY_6 = "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 5\n"


@pytest.mark.parametrize(
    ("shown", "shown_6", "expected"),
    [
        (EMPTY, EMPTY_6, set()),
        (EMPTY, None, set()),
        (EMPTY.replace("TCP: inuse 0", "TCP: inuse 10"), EMPTY_6, {Protocol.TCP}),
        (EMPTY, EMPTY_6.replace("UDP6: inuse 0", "UDP6: inuse 1"), {Protocol.UDP}),
        (None, EMPTY_6, {*Protocol}),
        ("", None, {*Protocol}),
        (EMPTY.replace("UDP:", "udp:"), None, {Protocol.UDP}),
    ],
)
def test_where_it_is_not_shown_there_may_be_some(
    tmp_path: Path, shown: str | None, shown_6: str | None, expected: set[Protocol]
) -> None:
    for name, text in (("sockstat", shown), ("sockstat6", shown_6)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert {protocol for protocol in Protocol if in_use(protocol, str(tmp_path))} == expected
