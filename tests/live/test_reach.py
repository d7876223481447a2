# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Thresholds that no buffer of the host reaches: `check` and the monitor say so, and what they say is true.

In a network namespace with sizes of its own, and with queues that are filled until nothing more goes in.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

from sockbpf.kernel.look.buffers import SURE, buffers
from sockbpf.kernel.look.netns import inside
from sockbpf.record.event import Direction, Protocol
from tests.live.command_line import run
from tests.live.monitoring import StartMonitor
from tests.live.network import namespace
from tests.live.receiver import Receiver
from tests.live.sockets import fill, inode, ss_all, tcp_pair, udp_socket
from tests.live.waiting import until

BUFFER = 65_536


@pytest.fixture
def small() -> Iterator[str]:
    """Make a network namespace in which TCP buffers have 64 KiB from the start; yield its name."""
    with namespace() as name:
        with inside(f"/run/netns/{name}"):
            for sysctl in ("tcp_rmem", "tcp_wmem"):
                Path(f"/proc/sys/net/ipv4/{sysctl}").write_text(f"4096 {BUFFER} {BUFFER}")
        yield name


def test_it_is_said_once_with_a_number_that_can_be_reached(
    small: str, tmp_path: Path, receiver: Receiver, start_monitor: StartMonitor
) -> None:
    thresholds = {"send": BUFFER, "recv": BUFFER - 1}
    sentence = (
        rf"thresholds > send: {BUFFER} bytes is out of reach of a TCP SEND buffer here: it has {BUFFER} "
        rf"\(net\.ipv4\.tcp_wmem\), and .* SO_SNDBUF.*; {int(0.8 * BUFFER)} can be reached"
    )
    settings = {"url": receiver.url, "journal": {"path": str(tmp_path / "journal")}, "thresholds": thresholds}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    before = ["nsenter", f"--net=/run/netns/{small}"]
    checked = run("check", "-c", config, before=before)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(f"^no alerts: {sentence}$", checked.stdout, re.MULTILINE), checked.stdout
    monitor = start_monitor(before=before, thresholds=thresholds, sweep={"interval": "1s"})

    def sweeps() -> int:
        monitor.process.send_signal(signal.SIGUSR1)
        return monitor.counters()["sweeps"] if " counters: " in monitor.log() else 0

    until(lambda: sweeps() >= 3, "three sweeps")
    assert len(re.findall(f" {sentence}$", monitor.log(), re.MULTILINE)) == 1, monitor.log()
    assert monitor.log().count("out of reach") == 1


def test_the_defaults_are_out_of_reach_of_udp(tmp_path: Path, receiver: Receiver) -> None:
    """As on every host where nobody has raised net.core.rmem_default."""
    udp = {each.direction: each.usual for each in buffers() if each.protocol is Protocol.UDP}
    if udp[Direction.RECV] > 2**20:
        pytest.skip("UDP buffers of this host are larger than the default threshold")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"url": receiver.url, "journal": {"path": str(tmp_path / "journal")}}))
    done = run("check", "-c", config)
    assert done.returncode == 0, done.stdout + done.stderr
    said = rf"^(no alerts: )?thresholds > recv: 1048576 bytes is out of reach of a UDP RECV.*{udp[Direction.RECV]}"
    assert re.search(said, done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("size", [1, 1009, 60_000])
def test_queues_reach_what_is_said_and_no_more(small: str, size: int) -> None:
    with inside(f"/run/netns/{small}"), ExitStack() as stack:
        known = {(each.protocol, each.direction): each for each in buffers()}
        client, server = tcp_pair(stack)
        until(lambda: not fill(client), "nothing more goes in")
        reader, writer = udp_socket(stack), udp_socket(stack)
        writer.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(1009):
                writer.sendto(bytes(size), reader.getsockname())
        queues = ss_all()
        reached = {
            "TCP RECV": queues[inode(server)][0] / known[Protocol.TCP, Direction.RECV].usual,
            "UDP RECV": queues[inode(reader)][0] / known[Protocol.UDP, Direction.RECV].usual,
        }
    print(reached)
    assert all(SURE < part <= 1 for part in reached.values())
