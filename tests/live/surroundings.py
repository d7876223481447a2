# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A monitor that polls, by settings written to a file; and what its metrics show."""

from __future__ import annotations

import re
import urllib.request
from contextlib import suppress
from pathlib import Path

import yaml

from tests.live.monitoring import sockbpf, thresholds
from tests.live.receiver import Receiver

UNREAD = 30_011


def settings_of(folder: Path, receiver: Receiver, **more: object) -> list[str]:
    """Write settings; return the command that goes by them."""
    settings = {
        "url": receiver.url, "kernel": {"hooks": "none"}, "sweep": {"poll": "100ms"},
        "journal": {"path": str(folder / "journal")}, "thresholds": thresholds(20_011),
        "fold": {"above": 0},
    } | more  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return sockbpf("-c", str(folder / "config.yaml"), "--ready-file", str(folder / "ready"), "--beside")


def shown(metrics: str, name: str) -> float:
    """Return a counter as it is served; -1 while nothing is."""
    with suppress(OSError), urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5) as answer:
        return float(re.findall(rf"^sockbpf_{name}_total (\S+)$", answer.read().decode(), re.MULTILINE)[0])
    return -1.0
