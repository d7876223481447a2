# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page of `sockbpf status`: 80 columns, what is wrong above, and no name can forge a line of it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from sockbpf.commands.status_page import page, span
from tests.unit.statuses import QUEUE, TOLD


def shown(**changed: Any) -> list[str]:
    written = io.StringIO()
    out = Console(file=written, width=80, highlight=False)
    for part in page(TOLD | changed):
        out.print(part)
    text = written.getvalue()
    assert all(len(line) <= 80 for line in text.split("\n"))
    return [line.rstrip() for line in text.split("\n")]


def test_a_quiet_monitor() -> None:
    lines = shown()
    text = " ".join(" ".join(lines).split())
    assert text.startswith("sockbpf 1.2.3 on db1, process 4711, run 00ff: watching for 2 h, since 2026-")
    assert "0 over, 0 stalled mode ebpf; sockets looked at 503 ms ago, each 5 s, by BPF iterators" in text
    assert "thresholds send 1048576 bytes, recv 80%, hold 10 s; stalled after 15 s above 1024 bytes" in text
    assert text.endswith(
        "nothing owed; destinations: http TCP send grows raw tracepoint a + raw tracepoint b counters: events=7"
    )


def test_what_is_wrong_stands_above_what_is_over() -> None:
    lines = shown(
        blind=["no look"], losses={"dropped": 7}, lost=7, unseen=["UDP send shrinks: no hook"], owed=9,
        destinations={"pager": {"owed": 9, "dead": True}}, over=1, stalled=31, oldest=3601.0, open=[QUEUE] * 21,
    )  # fmt: skip
    heads = [
        "blind: no look",
        "lost since its start: dropped=7",
        "destination pager is owed 9",
        "unseen: UDP send",
    ]
    heads += ["1 over, 31 stalled; the oldest for 60 min", " queue", "and 12 more", "mode ebpf"]
    at = [
        next(n for n, line in enumerate(lines) if line.startswith(head.rstrip()) or head in line)
        for head in heads
    ]
    assert at == sorted(at)
    assert sum("stalled" in line.split()[:1] for line in lines) == 20


def test_of_a_queue_all_is_shown_in_80_columns() -> None:
    text = "".join("\n".join(shown(stalled=1, open=[QUEUE])).split())
    for part in ("tcp", "SEND", "2147483647", "2147483646", "99%", "2h", "4194303"):
        assert part in text


@pytest.mark.parametrize("comm", ["a\nb", "\x1b[31mred", "[bold]x[/]", "\x9b5m", "\u202eabc"])
def test_no_name_forges_anything(comm: str) -> None:
    text = "\n".join(shown(over=1, open=[QUEUE | {"comm": comm}], host=comm))
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "a\nb" not in text


def test_a_rate_and_a_queue_of_nobody_known() -> None:
    rate = {"since": 1.0, "held": False, "type": "RATE", "condition": "rate", "severity": "warning", "size": 7,
            "threshold": 1, "peak": 9, "duration": 5.0, "id": "e", "netns": 4026531840, "name": "UdpRcvbufErrors",
            "per": "second", "mode": "poll", "protocol": "udp"}  # fmt: skip
    held = {key: value for key, value in QUEUE.items() if key not in {"pid", "comm", "rule", "fill"}} | {
        "held": True
    }
    lines = shown(over=1, held=1, open=[rate, held])
    assert sum("UdpRcvbufErr" in line for line in lines) == 1
    text = " ".join(" ".join(lines).split())
    assert "1 over, 0 stalled; the oldest for 0 ms, 1 over for less than their hold" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 ms"),
        (0.5, "500 ms"),
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
