# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store's metrics: promtool finds nothing wrong with them, and the rules for Prometheus ask for what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import requests

from tests.live.daemons import program
from tests.store.serving import Store

RULES = Path(__file__).parents[2] / "prometheus" / "alerts.yml"


def test_metrics_are_as_prometheus_wants_them(emptied: Store) -> None:
    text = requests.get(f"{emptied.url}/metrics", headers=emptied.headers, timeout=9).text
    command = [program("promtool"), "check", "metrics"]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
    asked = set(re.findall(r"\bsockbpf_store_\w+", RULES.read_text()))
    assert len(asked) >= 4
    assert asked <= set(re.findall(r"^sockbpf_store_\w+", text, re.MULTILINE))
