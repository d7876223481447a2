# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Commands of sockbpf run to their end, and the settings they are given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

from tests.live.monitoring import sockbpf, thresholds
from tests.live.receiver import Receiver

THRESHOLD = 20_011

UNREAD = 30_011


def write_config(tmp_path: Path, receiver: Receiver) -> Path:
    path = tmp_path / "config.yaml"
    settings = {
        "url": receiver.url,
        "thresholds": thresholds(THRESHOLD),
        "events": ["exceeded", "cleared"],
        "journal": {"path": str(tmp_path / "journal")},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def run(*arguments: str | Path, before: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of sockbpf to its end; no traceback, whatever it is."""
    command = [*(before or []), *sockbpf(*map(str, arguments))]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert "Traceback" not in done.stdout + done.stderr
    return done
