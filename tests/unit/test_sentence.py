# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An alert in words, for each condition and event."""

from __future__ import annotations

import pytest

from sockbpf.record.text import sentence

ALERT = {
    "protocol": "tcp", "local_ip": "192.0.2.1", "local_port": "443", "remote_ip": "192.0.2.2", "remote_port": "40009",
    "type": "RECV", "size": "2003", "threshold": "1024", "peak": "3001", "duration": "75.5",
    "pid": "4711", "comm": "nginx",
}  # fmt: skip
QUEUE, OWNER = "RECV queue of tcp 192.0.2.1:443 to 192.0.2.2:40009", " (nginx, pid 4711)"


@pytest.mark.parametrize(
    ("condition", "event", "phrase"),
    [
        ("size", "exceeded", "holds 2003 bytes, over 1024"),
        ("size", "ongoing", "still holds 2003 bytes, over 1024 for 75.5 s, peak 3001"),
        ("size", "cleared", "is back at 2003 bytes after 75.5 s over 1024, peak 3001"),
        ("stalled", "exceeded", "is stalled: it holds 2003 bytes and nothing leaves it"),
        ("stalled", "ongoing", "is still stalled: it holds 2003 bytes, nothing has left it for 75.5 s"),
        (
            "stalled",
            "cleared",
            "is not stalled any more: nothing had left it for 75.5 s, it holds 2003 bytes now",
        ),
    ],
)
def test_what_is_said_of_a_queue(condition: str, event: str, phrase: str) -> None:
    assert sentence(ALERT | {"condition": condition, "event": event}) == f"{QUEUE} {phrase}{OWNER}"


def test_an_alert_of_an_earlier_release_is_about_a_size() -> None:
    assert sentence(ALERT | {"event": "exceeded"}) == f"{QUEUE} holds 2003 bytes, over 1024{OWNER}"
