# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The measurements run, and miss nothing. What they measure is asserted on no machine that does other things too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import MEASURES
from tests.live.turns import skip_unless_its_turn

HALF = len(MEASURES) // 2


@pytest.mark.parametrize("name", MEASURES)
def test_it_runs(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    """Half of them a day, all with `--every-choice`."""
    skip_unless_its_turn(request, name, [*MEASURES], HALF)
    file = tmp_path / "figures.json"
    ran = subprocess.run(
        [sys.executable, "-m", "bench", name, "--quick", "--json", str(file)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(file.read_text())
    assert figures
    for figure in figures:
        assert figure["values"], figure
        assert figure["name"] in ran.stdout
