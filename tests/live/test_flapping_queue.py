# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A queue that crosses ten thousand times makes few alerts, which account for all, and delays no other alert."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.live.monitoring import StartMonitor
from tests.live.ours import only_ours
from tests.live.receiver import Receiver
from tests.live.sockets import port, tcp_pair, udp_socket
from tests.live.waiting import until

CROSSINGS = 10_007
THRESHOLD, DATAGRAM = 20_011, 30_011
MOST = 7


@pytest.mark.timeout(300)
def test_few_alerts_account_for_all_crossings_and_delay_no_other(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, *, strict_times: bool
) -> None:
    """By the defaults of `flapping` and `fold`."""
    reader, writer = udp_socket(stack), udp_socket(stack)
    real, accepted = tcp_pair(stack)
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD},
        rules=only_ours(port(reader), port(accepted)),  # `untold` counts the crossings of all queues
        flapping={},
        fold={},
        kernel={"perf_pages": 1024},
    )
    for number in range(CROSSINGS):
        writer.sendto(bytes(DATAGRAM), reader.getsockname())
        assert len(reader.recv(DATAGRAM)) == DATAGRAM
        if number == CROSSINGS // 2:
            real.sendall(bytes(DATAGRAM))

    def arrivals() -> list[float]:
        return [
            at - float(told["timestamp"])
            for at, told in list(receiver.told)
            if (told["event"], told["local_port"]) == ("exceeded", str(port(accepted)))
        ]

    late_s = float(until(arrivals, "the other queue")[0])
    assert monitor.stop() == 0  # the queue is back: its flap ends with the monitor
    counts = monitor.counters()
    told = receiver.alerts(local_port=port(reader), type="RECV")
    shown = [(alert["event"], alert.get("crossings")) for alert in told]
    print(
        f"{CROSSINGS} crossings: {shown}; untold {counts['untold']}; the other was told after {late_s:.3f} s"
    )
    assert len(told) <= MOST
    assert not [alert for alert in told if "count" in alert]
    exceeded = sum(alert["event"] == "exceeded" for alert in told)
    crossings = sum(int(alert.get("crossings", "0")) for alert in told)
    assert exceeded + crossings + counts["untold"] == CROSSINGS
    assert counts["lost_submit"] == counts["given_up"] == counts["dropped"] == 0
    assert late_s < 1 or not strict_times
