# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The plan for a fleet is what its formula makes of the figures above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.copies import ROOT
from tests.unit.documents import blocks, text_of

PLAN = Path("docs/fleet.md")


def test_the_plan_follows_from_its_figures() -> None:
    (formula,) = blocks(PLAN, "python")
    made = subprocess.run(
        [sys.executable, "-c", formula], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert made.stdout.count("\n") > 10
    assert f"|---|---|---|\n{made.stdout}\n" in text_of(PLAN)
