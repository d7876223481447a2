# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf explain` and what `sockbpf check` counts: which rule applies to real sockets, and why no other does."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.live.command_line import run, write_config
from tests.live.receiver import Receiver
from tests.live.sockets import port, tcp_pair, udp_socket

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looking at all sockets needs root")


def with_rules(path: Path, *rules: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"rules": list(rules)}))
    return path


def test_it_says_which_rule_applies_and_why_none_before_it_does(
    tmp_path: Path, receiver: Receiver, stack: ExitStack
) -> None:
    _, server = tcp_pair(stack)
    datagrams = udp_socket(stack)
    config = with_rules(
        write_config(tmp_path, receiver),
        {"name": "web", "match": {"local_port": 1, "user": 4_000_000}, "thresholds": {"recv": 7}},
        {
            "name": "ours",
            "match": {"local_port": port(server), "protocol": "tcp"},
            "thresholds": {"recv": 10_007},
        },
        {"name": "datagrams", "match": {"protocol": "udp", "local_port": port(datagrams)}, "ignore": True},
        {"name": "shares", "match": {"remote_port": port(server)}, "thresholds": {"send": "80%"}},
    )
    shown = run("explain", "-c", config, f"127.0.0.1:{port(server)}")
    assert shown.returncode == 0
    one = re.compile(
        rf"^tcp 127\.0\.0\.1:{port(server)} > 127\.0\.0\.1:\d+ RECV .*\n"
        r"  web: does not match: local_port, user\n  ours: applies, threshold 10007 bytes$", re.MULTILINE
    )  # fmt: skip
    assert one.search(shown.stdout), shown.stdout
    assert "  shares: applies, threshold 80% of the buffer\n" in shown.stdout
    shown = run("explain", "-c", config, str(os.getpid()))
    assert f"udp 127.0.0.1:{port(datagrams)} > 0.0.0.0:0 RECV" in shown.stdout
    assert "  datagrams: applies, ignored\n" in shown.stdout
    none = run("explain", "-c", config, "127.0.0.1:1")
    assert (none.returncode, none.stdout.count("\n")) == (1, 1)
    for nonsense in ("nonsense", "localhost:443", "127.0.0.1:65536"):
        bad = run("explain", "-c", config, nonsense)
        assert (bad.returncode, bad.stdout) == (2, "")
        assert "expected an address with its port" in bad.stderr


def test_check_counts_the_sockets_of_each_rule(tmp_path: Path, receiver: Receiver, stack: ExitStack) -> None:
    server = udp_socket(stack)
    tcp_pair(stack)  # of no rule
    config = with_rules(
        write_config(tmp_path, receiver),
        {"name": "one-udp", "match": {"local_port": port(server), "protocol": "udp"}, "ignore": True},
        {"name": "nobody", "match": {"user": 4_000_000}, "severity": "critical"},
    )
    shown = run("check", "-c", config)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    counts = dict(re.findall(r"│ (one-udp|nobody|\(none\)) +│ +(\d+)", shown.stdout))
    assert (counts["one-udp"], counts["nobody"]) == ("1", "0")
    assert int(counts["(none)"]) >= 2
