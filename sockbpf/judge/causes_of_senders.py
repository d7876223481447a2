# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Why a send queue is over: the rows of the table, each with what shows it and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.judge.evidence import is_stopped, seconds, size
from sockbpf.record.closeup import Timer
from sockbpf.record.facts import STATES
from sockbpf.record.why import Cause, Confidence

if TYPE_CHECKING:
    from sockbpf.judge.symptoms import Found, Row, Symptoms

HIGH, MEDIUM, LOW = Confidence

SYN_SENT = 2
CLOSING_STATES = (4, 9, 11)
"""FIN-WAIT-1, LAST-ACK, CLOSING: the application has closed, and data or the FIN is not acknowledged."""
SURE_TIMEOUTS = 2
"""From so many timeouts on it is sure that nothing is acknowledged."""
LATE_MS = 200
"""An acknowledgement that is by so much later than twice the round trip may never come."""
MOSTLY = 75
"""Percent of what is not acknowledged that are still on this host: some of it is on the wire, or its answer is."""
SURE_PROBES = 3
"""After so many probes, each after twice the time, a window that stays closed is not that of a slow reader."""


def _orphaned(of: Symptoms) -> Found:
    if of.is_udp or of.now.inode or of.now.state not in CLOSING_STATES:
        return None
    window = "; the window of the peer is 0" if of.now.tcp and of.now.tcp.snd_wnd == 0 else ""
    closed = f"the application has closed the connection, which is in {STATES[of.now.state]}"
    return HIGH, f"{closed}, and {size(of.now.send)} are not acknowledged{window}"


def _peer_not_answering(of: Symptoms) -> Found:
    tcp = of.now.tcp
    if not tcp or of.now.state != SYN_SENT or not tcp.retransmits:
        return None
    return MEDIUM, f"the peer does not answer: no connection after {tcp.retransmits + 1} tries"


def _peer_not_reading(of: Symptoms) -> Found:
    """Tell whether the peer's window holds up all that there is: tcp_send_probe0 of net/ipv4/tcp_output.c."""
    tcp = of.now.tcp
    if not tcp or not _is_window_closed(of) or of.left():
        return None
    figures = f"its window is {tcp.snd_wnd}, {size(of.now.send)} stand unsent{_share(of)}{_peer(of)}"
    if (still_s := of.still_for_s()) is not None:
        return HIGH, f"the peer has not read for {seconds(still_s)}: {figures}"
    return HIGH if tcp.backoff >= SURE_PROBES else MEDIUM, f"the peer does not read: {figures}"


def _is_window_closed(of: Symptoms) -> bool:
    tcp = of.now.tcp
    if not tcp or tcp.snd_wnd is None or tcp.unacked:
        return False
    return tcp.snd_wnd < max(tcp.mss, 1) and of.now.timer is Timer.PERSIST


def _share(of: Symptoms) -> str:
    memory = of.now.memory
    return f" ({memory.queued * 100 // memory.sndbuf} % of the buffer)" if memory and memory.sndbuf else ""


def _peer(of: Symptoms) -> str:
    """Return who the peer is, where it is a process of this host, and whether it is stopped."""
    peer = of.peer
    if not peer or not peer.pid:
        return ""
    stopped = ", which is stopped" if is_stopped(peer.threads) else ""
    return f"; the peer is {peer.comm} (pid {peer.pid}) on this host{stopped}"


def _no_acknowledgement(of: Symptoms) -> Found:
    tcp = of.now.tcp
    if not tcp or of.now.timer is not Timer.RETRANSMIT or not tcp.unacked or tcp.snd_wnd == 0:
        return None
    timeouts = tcp.retransmits
    if tcp.last_ack_ms is None or tcp.rto_us is None or of.now.expires_ms is None:  # read at the crossing
        if timeouts < SURE_TIMEOUTS:
            return None
        return MEDIUM, f"nothing is acknowledged: sent again {tcp.retransmits} times, each time in vain"
    if not timeouts or tcp.last_ack_ms < _silence_ms(timeouts, tcp.rto_us, tcp.backoff, of.now.expires_ms):
        return None
    return HIGH if timeouts >= SURE_TIMEOUTS else MEDIUM, (
        f"nothing is acknowledged for {seconds(tcp.last_ack_ms / 1000)}: sent again {tcp.retransmits} times, "
        "each time in vain"
    )


def _silence_ms(timeouts: int, rto_us: int, backoff: int, expires_ms: int) -> float:
    """Return how long nothing must have come from a peer that has answered neither the last try nor the one before.

    The timeout doubles with each try (net/ipv4/tcp_timer.c, tcp_retransmit_timer): the last one was `rto - expires`
    ago, the one before it half a timeout earlier, or more where a router has said that the peer cannot be reached
    (tcp_ld_RTO_revert). A peer whose buffer is full answers each, and acknowledges nothing.
    """
    rto_ms = rto_us / 1000
    first_ms = rto_ms / (1 << backoff)
    since_last_ms = max(rto_ms - expires_ms, 0)
    return since_last_ms + (rto_ms / 2 + first_ms / 4 if timeouts >= SURE_TIMEOUTS else first_ms / 2)


def _device_queue(of: Symptoms) -> Found:
    """Tell whether most of what is not acknowledged has not left this host: UDP's queue is nothing else."""
    tcp, memory = of.now.tcp, of.now.memory
    held = memory.wmem if memory else of.now.send
    if not of.is_udp:
        sent = of.now.send - tcp.notsent if tcp and tcp.notsent is not None else 0
        if not 0 < sent * MOSTLY <= held * 100:
            return None
    return MEDIUM, f"the device, or the queue in front of it, holds {size(held)} of what was sent"


def _peer_slow(of: Symptoms) -> Found:
    """Tell whether the peer's window is used up, or was closed and opened again since the look before."""
    tcp = of.now.tcp
    if not tcp or tcp.snd_wnd is None or not tcp.notsent:
        return None
    is_used_up = tcp.unacked > 0 < tcp.snd_wnd and tcp.snd_wnd - (of.now.send - tcp.notsent) < tcp.mss
    if not is_used_up and not (_is_window_closed(of) and of.left()):
        return None
    if not of.grew("rwnd_limited_us"):
        return None
    share = ""
    if tcp.busy_us and tcp.rwnd_limited_us:
        share = f", which has held up {tcp.rwnd_limited_us * 100 // tcp.busy_us} % of the time of sending"
    window = (
        f"its window of {size(tcp.snd_wnd)} is used up"
        if is_used_up
        else "it closes its window again and again"
    )
    return MEDIUM, f"the peer reads slowly: {window}{share}{_taken(of)}{_peer(of)}"


def _taken(of: Symptoms) -> str:
    taken = of.left()
    return f"; it has taken {size(taken)} in {seconds(of.looked_for_s)}" if taken else ""


def _path_limited(of: Symptoms) -> Found:
    """Tell whether the congestion window is used up, or a loss is being repaired, which keeps it from being so."""
    tcp = of.now.tcp
    if not tcp or not tcp.notsent or not tcp.unacked or tcp.snd_wnd is None or tcp.retransmits:
        return None
    if tcp.last_ack_ms is not None and tcp.last_ack_ms > 2 * tcp.rtt_us / 1000 + LATE_MS:
        return None  # the first timeout may be near
    is_used_up = tcp.in_flight * 4 >= tcp.cwnd * 3 or tcp.lost or tcp.sacked or tcp.retrans
    if not is_used_up or of.now.send - tcp.notsent + tcp.mss > tcp.snd_wnd:
        return None
    lossy = f"; it is lossy: {tcp.total_retrans} segments were sent again" if tcp.total_retrans else ""
    return MEDIUM, (
        f"the path is the limit: {tcp.in_flight} segments are under way of {tcp.cwnd} that may be, round trip "
        f"{tcp.rtt_us / 1000:.1f} ms, {size(tcp.notsent)} wait to be sent{lossy}"
    )


def _send_buffer_small(of: Symptoms) -> Found:
    """Tell whether all that the buffer takes is under way, and neither window is used up."""
    tcp, memory = of.now.tcp, of.now.memory
    if not tcp or not tcp.unacked or tcp.notsent != 0 or tcp.snd_wnd is None or tcp.retransmits or not memory:
        return None
    has_room = tcp.in_flight < tcp.cwnd and of.now.send < tcp.snd_wnd
    if not has_room or not (of.grew("sndbuf_limited_us") or memory.queued >= memory.sndbuf):
        return None
    return LOW, f"the send buffer of {size(memory.sndbuf)} is the limit: all that it takes is under way"


ROWS: tuple[Row, ...] = (
    (Cause.ORPHANED, _orphaned),
    (Cause.PEER_NOT_ANSWERING, _peer_not_answering),
    (Cause.PEER_NOT_READING, _peer_not_reading),
    (Cause.NO_ACKNOWLEDGEMENT, _no_acknowledgement),
    (Cause.DEVICE_QUEUE, _device_queue),
    (Cause.PEER_SLOW, _peer_slow),
    (Cause.PATH_LIMITED, _path_limited),
    (Cause.SEND_BUFFER_SMALL, _send_buffer_small),
)
"""In the order in which they are tried: what is surer comes first."""
