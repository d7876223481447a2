# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look says what it has left out."""

from __future__ import annotations

import pytest

from sockbpf.kernel.look import glance
from sockbpf.kernel.look.diag import Diag
from sockbpf.record.event import Protocol


def test_a_namespace_whose_process_has_ended_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "places", lambda: {7: "/proc/0/ns/net", 8: "/proc/0/ns/net"})
    seen = glance.glance(Diag(), tuple(Protocol), empties=False, listeners_only=False)
    assert (seen.left_out, seen.missed, seen.handed, seen.listeners) == (2, [], [], [])


def test_it_beats_before_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a host of many namespaces, each with many sockets, is not taken for a thread that hangs."""
    own = glance.OWN
    monkeypatch.setattr(glance, "places", lambda: dict.fromkeys(range(3), own))
    beats: list[int] = []
    glance.glance(Diag(), tuple(Protocol), empties=False, listeners_only=False, beat=lambda: beats.append(1))
    assert len(beats) == 3 * 3
