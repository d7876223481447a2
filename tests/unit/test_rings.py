# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which CPUs get an event buffer."""

from __future__ import annotations

import pytest

from sockbpf.kernel.attach.perf import cpus


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0,2-3,8\n", [0, 2, 3, 8]), ("1-1,4", [1, 4])],
)
def test_the_list_of_cpus_is_read(text: str, numbers: list[int]) -> None:
    assert cpus(text) == numbers
