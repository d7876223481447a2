# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file of JSON lines, and what stands in it."""

from __future__ import annotations

import json
from pathlib import Path

TOLD = {
    "timestamp": "1795343123.482913", "event": "ongoing", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "10", "duration": "1.500000", "id": "1234567890123456", "seq": "7", "host": "12",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "1e5",
}  # fmt: skip


def alert(seq: int, padding: int = 0) -> dict[str, str]:
    return TOLD | {"seq": str(seq), "comm": "x" * padding}


def lines(*paths: Path) -> list[dict[str, object]]:
    """Return what stands in the files; every line is whole."""
    texts = [path.read_text() for path in paths]
    assert all(text.endswith("\n") or not text for text in texts)
    return [json.loads(line) for text in texts for line in text.splitlines()]


def seqs(*paths: Path) -> list[object]:
    return [line["seq"] for line in lines(*paths)]
