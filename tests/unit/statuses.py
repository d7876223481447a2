# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A status of a quiet monitor, and an open episode with everything that one can have."""

from __future__ import annotations

from typing import Any

QUEUE: dict[str, Any] = {
    "since": 1795343123.5, "held": False, "protocol": "tcp", "local_ip": "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    "local_port": 40009, "remote_ip": "2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff1", "remote_port": 443, "type": "SEND",
    "condition": "stalled", "severity": "critical", "rule": "r" * 40, "size": 2**31 - 1, "threshold": 2**31 - 2,
    "peak": 2**31 - 1, "fill": 99, "duration": 7207.5, "id": "e", "netns": 1, "mode": "ebpf", "pid": 4194303,
    "comm": "fifteen letters",
}  # fmt: skip
TOLD: dict[str, Any] = {
    "version": "1.2.3", "host": "db1", "run": "00ff", "pid": 4711, "timestamp": 1795350330.0,
    "started": 1795343123.0, "state": "watching", "blind": [], "mode": "ebpf", "unseen": [],
    "hooks": {"TCP send grows": "raw tracepoint a + raw tracepoint b"}, "look": "BPF iterators",
    "look_interval": 5.0, "looked": 0.503, "thresholds": {"send": "1048576 bytes", "recv": "80%"}, "hold": 10.0,
    "stalled_after": 15.0, "stalled_above": 1024, "rules": 3, "over": 0, "stalled": 0, "held": 0, "oldest": 0.0,
    "open": [], "owed": 0, "oldest_owed": 0.0, "destinations": {"http": {"owed": 0, "dead": False}}, "lost": 0,
    "losses": {}, "counters": {"events": 7, "sweeps": 0},
}  # fmt: skip
