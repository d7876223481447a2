# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is advised for some days of a simulated host holds when the monitor sees the same days again by it.

The monitor is the one that runs, with a record in the place of the kernel, a real store and a real receiver.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.advice import trial
from bench.replayed.trial import Trial
from sockbpf.kernel.look.whose import cgroup_root

NIGHTS = 3
"""A backup is one of each night after so many."""


def assert_right(of: Trial) -> None:
    print(f"{of.first.took_s:.1f} s and {of.again.took_s:.1f} s; {len(of.rungs)} rungs")
    assert not of.wrong, "\n".join(map(str, of.wrong))
    assert not of.unadvised
    assert of.proposals


def test_what_is_advised_by_port_is_told_as_predicted(tmp_path: Path) -> None:
    of = trial(tmp_path / "ports", NIGHTS, ("flapping", "backup", "two queues"), [8100])
    assert_right(of)
    exact = [rung for rung in of.rungs if rung.is_exact]
    bounded = [rung for rung in of.rungs if not rung.is_exact]
    assert sum(rung.told > 0 for rung in exact) > 5
    assert sum(0 < rung.told < (rung.most or 0) for rung in bounded) > 5
    assert any("a rule for it" in rung.reason for rung in of.proposals)


@pytest.mark.skipif(cgroup_root() is None, reason="sockets have no cgroups here")
def test_what_is_advised_by_unit_is_told_as_predicted(tmp_path: Path) -> None:
    of = trial(tmp_path / "units", 1, ("quiet", "two queues"), [8000, 8200], by_unit=True)
    assert_right(of)
    assert any(rung.threshold < 2**20 for rung in of.proposals)
