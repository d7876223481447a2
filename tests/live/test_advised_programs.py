# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""By what is advised of real programs each hang is told again, and nothing of a program that is well.

One program each third day, `--every-choice` for all; `make bench FIGURES=advice` has them a minute under load.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.advice_programs import Hangs, tried
from tests.live.programs import hangs as of_http
from tests.live.programs import more_hangs
from tests.live.turns import whose_turn

PROGRAMS: dict[str, tuple[str, Hangs]] = {
    "nginx": ("nginx, downloads by curl", of_http.of_nginx),
    "PostgreSQL": ("PostgreSQL, COPY both ways", more_hangs.of_postgresql),
    "redis": ("redis", more_hangs.of_redis),
    "dnsmasq": ("dnsmasq, dnsperf", more_hangs.of_dnsmasq),
    "rsyslog": ("rsyslog, logger", more_hangs.of_rsyslog),
    "asyncio": ("asyncio, wrk", of_http.of_asyncio),
    "ssh": ("ssh, files", of_http.of_ssh),
}
"""A load, and what hangs."""
SECONDS = 3
SETTINGS = {"stalled": {"after": "3s"}, "listeners": {"hold": "500ms"}}
"""So that it takes less time."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_hang_is_told_and_nothing_else(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    turns = [turn for each in PROGRAMS for turn in (each, "nobody's", "nobody's")]
    if name not in whose_turn(turns, 1) and not request.config.getoption("--every-choice"):
        pytest.skip("another program's turn")
    load, hangs = PROGRAMS[name]
    of = tried(tmp_path, [load], [hangs], SECONDS, SETTINGS)
    assert not of.before.untold
    assert not of.after.untold
    assert not [told for told in of.after.alerts if told.get("rule")]
    assert len(of.after.alerts) <= 1
