# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of causes: each row by the symptoms that it names, and the nearest that must not be it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sockbpf.judge.causes import ROWS, judged
from sockbpf.judge.symptoms import Symptoms
from sockbpf.record.alert import ONGOING
from sockbpf.record.closeup import Closeup, Memory, Tcp, Thread, Timer
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import Condition, Facts
from sockbpf.record.why import Cause, Why
from tests.unit.notices import notice

SECOND = 10**9
SIZE = 100_003
MSS = 1448
TCP = Tcp(
    retransmits=0, backoff=0, rto_us=200_000, mss=MSS, unacked=0, sacked=0, lost=0, retrans=0, last_ack_ms=10,
    rtt_us=20_000, cwnd=10, total_retrans=0, received=SIZE, acked=5003, notsent=SIZE, busy_us=1000,
    rwnd_limited_us=0, sndbuf_limited_us=0, snd_wnd=1 << 20,
)  # fmt: skip
MEMORY = Memory(rmem=SIZE, rcvbuf=131_072, wmem=1, sndbuf=1 << 20, queued=SIZE, backlog=0, drops=0)
NOW = Closeup(10 * SECOND, 1, 4711, SIZE, SIZE, Timer.NONE, MEMORY, TCP)
ASLEEP, STOPPED, RUNS = Thread("S", "do_epoll_wait"), Thread("T"), Thread("R")
FROZEN = Thread("S", "get_signal")
AT_LOCK, AT_DISK = Thread("S", "futex_do_wait"), Thread("D", "io_schedule")
SEND, RECV, ACCEPT = Direction.SEND, Direction.RECV, Direction.ACCEPT
CLOSED: dict[str, Any] = {"snd_wnd": 0}
FULL_UDP: dict[str, Any] = {"protocol": Protocol.UDP, "facts": Facts(131_072, 131_000, drops=17)}


def now(
    state: int = 1, inode: int = 4711, timer: Timer = Timer.NONE, expires_ms: int | None = 100, **tcp: Any
) -> Closeup:
    memory = {name: tcp.pop(name) for name in ("rmem", "wmem", "sndbuf", "queued") if name in tcp}
    return replace(
        NOW,
        state=state,
        inode=inode,
        timer=timer,
        expires_ms=expires_ms,
        tcp=replace(TCP, **tcp),
        memory=replace(MEMORY, **memory),
    )


def earlier(look: Closeup, s: float, **tcp: Any) -> Closeup:
    assert look.tcp
    return replace(look, ns=look.ns - int(s * SECOND), tcp=replace(look.tcp, **tcp))


def why(
    direction: Direction, look: Closeup, before: Closeup | None = None, *threads: Thread, **changed: Any
) -> Why:
    protocol, still_s = changed.pop("protocol", Protocol.TCP), changed.pop("stood_still_s", 0.0)
    made = notice(ONGOING, 1, 10 * SECOND, size=SIZE, direction=direction, comm="reader", pid=17, **changed)
    assert made.socket
    made = replace(made, since_ns=7 * SECOND, socket=replace(made.socket, protocol=protocol))
    if protocol is Protocol.UDP:
        look = replace(look, tcp=None)
    return judged(Symptoms(made, look, before, threads, stood_still_s=still_s))


def said(*given: Any, **changed: Any) -> tuple[str, str]:
    found = why(*given, **changed)
    return found.cause.value, found.confidence.value if found.confidence else ""


UNKNOWN = ("unknown", "")
SHUT_SURELY, SHUT_NOW = ("peer-not-reading", "high"), ("peer-not-reading", "medium")
SLOW, PATH, SMALL = ("peer-slow", "medium"), ("path-limited", "medium"), ("send-buffer-small", "low")
SILENT = "no-acknowledgement"
SHUT = now(timer=Timer.PERSIST, **CLOSED)
SHUT_PERSIST: dict[str, Any] = {"timer": Timer.PERSIST, "snd_wnd": 0}
TWICE: dict[str, Any] = {"retransmits": 2, "backoff": 2, "rto_us": 800_000}
FAR: dict[str, Any] = {"rwnd_limited_us": 9, "cwnd": 99, "timer": Timer.RETRANSMIT, "unacked": 10}
ALL: dict[str, Any] = {"notsent": 0, "cwnd": 99, "timer": Timer.RETRANSMIT, "unacked": 10}
LATE: dict[str, Any] = {"timer": Timer.RETRANSMIT, "unacked": 1, "notsent": 0}
ONCE: dict[str, Any] = {"retransmits": 1, "backoff": 1, "rto_us": 400_000}
AT_CROSSING: dict[str, Any] = {"last_ack_ms": None, "expires_ms": None}
UNDER_WAY: dict[str, Any] = {"timer": Timer.RETRANSMIT, "unacked": 10}
SENDERS: dict[str, tuple[Closeup, Closeup | None, tuple[str, str]]] = {
    "window shut, first look": (SHUT, None, SHUT_NOW),
    "window shut, three probes": (now(backoff=3, **SHUT_PERSIST), None, SHUT_SURELY),
    "window shut for a second": (SHUT, earlier(SHUT, 1), SHUT_SURELY),
    "window shut for less": (SHUT, earlier(SHUT, 0.9), SHUT_NOW),
    "window opened since": (now(rwnd_limited_us=9, **SHUT_PERSIST), earlier(SHUT, 1, acked=1), SLOW),
    "window shut, a segment under way": (now(timer=Timer.PERSIST, unacked=1, **CLOSED), None, UNKNOWN),
    "window shut, no timer": (now(**CLOSED), None, UNKNOWN),
    "window of a segment": (now(timer=Timer.PERSIST, snd_wnd=MSS), None, UNKNOWN),
    "window not known": (now(timer=Timer.PERSIST, snd_wnd=None), None, UNKNOWN),
    "two timeouts": (now(last_ack_ms=700, expires_ms=700, **TWICE, **LATE), None, (SILENT, "high")),
    "one timeout": (now(last_ack_ms=300, expires_ms=300, **ONCE, **LATE), None, (SILENT, "medium")),
    "two timeouts, each answered": (now(last_ack_ms=100, expires_ms=700, **TWICE, **LATE), None, UNKNOWN),
    "two timeouts, the first answered": (now(last_ack_ms=500, expires_ms=700, **TWICE, **LATE), None, UNKNOWN),
    "one timeout, answered": (now(last_ack_ms=100, expires_ms=300, **ONCE, **LATE), None, UNKNOWN),
    "at the crossing, two timeouts": (now(**AT_CROSSING, **TWICE, **LATE), None, (SILENT, "medium")),
    "at the crossing, one timeout": (now(**AT_CROSSING, **ONCE, **LATE), None, UNKNOWN),
    "none yet": (now(last_ack_ms=150, **LATE), None, UNKNOWN),
    "acknowledged just now": (now(last_ack_ms=3, expires_ms=700, **TWICE, **LATE), None, UNKNOWN),
    "timeouts at a shut window": (now(last_ack_ms=700, expires_ms=700, **TWICE, **LATE, **CLOSED), None, UNKNOWN),
    "window used up": (now(notsent=SIZE - 20_000, snd_wnd=20_500, **FAR), None, SLOW),
    "window used up, not held up": (now(notsent=SIZE - 20_000, snd_wnd=20_500, cwnd=99, **UNDER_WAY), None, UNKNOWN),
    "window has room": (now(notsent=SIZE - 10_000, snd_wnd=20_500, **FAR), None, UNKNOWN),
    "congestion window used up": (now(notsent=SIZE - 14_480, **UNDER_WAY), None, PATH),
    "congestion window used up, silent": (
        now(notsent=SIZE - 14_480, last_ack_ms=300, **UNDER_WAY), None, UNKNOWN,
    ),
    "congestion window has room": (now(notsent=SIZE - 14_480, cwnd=30, **UNDER_WAY), None, UNKNOWN),
    "losses under repair": (now(notsent=SIZE - 14_480, cwnd=30, lost=2, **UNDER_WAY), None, PATH),
    "all is sent": (now(**ALL), None, UNKNOWN),
    "all is sent, no room": (now(queued=1 << 20, **ALL), None, SMALL),
    "all is sent, was held up": (now(sndbuf_limited_us=5, **ALL), None, SMALL),
    "not left the host": (now(notsent=SIZE - 14_480, wmem=20_000, **UNDER_WAY), None, ("device-queue", "medium")),
    "half has left": (now(notsent=SIZE - 14_480, wmem=7000, cwnd=99, **UNDER_WAY), None, UNKNOWN),
    "no file": (now(state=4, inode=0, timer=Timer.PERSIST, **CLOSED), None, ("orphaned", "high")),
    "closing, file held": (now(state=4, timer=Timer.PERSIST, **CLOSED), None, SHUT_NOW),
    "no answer": (now(state=2, retransmits=1, **LATE), None, ("peer-not-answering", "medium")),
    "no answer yet": (now(state=2, **LATE), None, UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("name", SENDERS)
def test_of_senders(name: str) -> None:
    look, before, expected = SENDERS[name]
    assert said(SEND, look, before) == expected


STILL, SOME = earlier(NOW, 2), earlier(NOW, 2, received=SIZE - 7)
READERS: dict[str, tuple[Closeup, Closeup | None, tuple[Thread, ...], tuple[str, str]]] = {
    "not accepted": (now(inode=0), None, (), ("not-accepted", "high")),
    "not accepted, closed": (now(inode=0, state=8), None, (), ("not-accepted", "high")),
    "not accepted, but closed on our side": (now(inode=0, state=5), None, (), UNKNOWN),
    "closed on our side": (now(state=5), None, (ASLEEP,), UNKNOWN),
    "stopped": (NOW, None, (STOPPED, STOPPED), ("reader-stopped", "high")),
    "frozen": (NOW, None, (FROZEN, FROZEN), ("reader-stopped", "high")),
    "frozen, by version 1": (NOW, None, (Thread("D", "__refrigerator"),), ("reader-stopped", "high")),
    "one thread frozen": (NOW, None, (FROZEN, ASLEEP), UNKNOWN),
    "one thread stopped": (NOW, None, (STOPPED, ASLEEP), UNKNOWN),
    "closed": (now(state=8), None, (ASLEEP,), ("peer-closed", "high")),
    "closed, stopped": (now(state=8), None, (STOPPED,), ("reader-stopped", "high")),
    "reads": (NOW, SOME, (RUNS,), ("reader-slow", "high")),
    "reads between locks": (NOW, SOME, (AT_LOCK,), ("reader-slow", "high")),
    "at a lock": (NOW, None, (AT_LOCK, AT_LOCK), ("reader-blocked", "medium")),
    "one thread at a lock": (NOW, None, (AT_LOCK, ASLEEP), UNKNOWN),
    "at a disk": (NOW, None, (AT_DISK,), ("reader-blocked", "medium")),
    "one thread at a disk": (NOW, None, (AT_DISK, ASLEEP), UNKNOWN),
    "one thread at a disk, nothing read": (NOW, STILL, (AT_DISK, ASLEEP), ("reader-blocked", "medium")),
    "nothing read": (NOW, STILL, (ASLEEP,), ("reader-not-reading", "medium")),
    "nothing read, so far": (NOW, earlier(NOW, 0.9), (ASLEEP,), UNKNOWN),
    "owner not known": (NOW, STILL, (), UNKNOWN),
}


@pytest.mark.parametrize("name", READERS)
def test_of_readers(name: str) -> None:
    look, before, threads, expected = READERS[name]
    assert said(RECV, look, before, *threads) == expected


def test_of_udp_readers() -> None:
    full = now(rmem=131_000)
    assert said(RECV, full, None, ASLEEP, **FULL_UDP) == ("buffer-full", "high")
    assert said(RECV, full, None, **FULL_UDP) == ("buffer-full", "medium")
    assert said(RECV, full, None, STOPPED, **FULL_UDP) == ("reader-stopped", "high")
    assert said(RECV, now(rmem=90_000), None, ASLEEP, **FULL_UDP) == UNKNOWN
    assert (
        said(RECV, full, None, ASLEEP, protocol=Protocol.UDP, facts=Facts(131_072, 131_000, drops=0))
        == UNKNOWN
    )
    assert said(SEND, full, None, protocol=Protocol.UDP) == ("device-queue", "medium")


def test_of_listeners() -> None:
    stalled: dict[str, Any] = {"condition": Condition.STALLED, "facts": Facts(128, 100, drops=3)}
    assert said(ACCEPT, NOW, None, ASLEEP, facts=Facts(128, 129, drops=3)) == ("accept-queue-full", "high")
    assert said(ACCEPT, NOW, None, ASLEEP, facts=Facts(128, 100, drops=0)) == UNKNOWN
    assert said(ACCEPT, NOW, None, ASLEEP, **stalled) == ("not-accepting", "high")


def test_of_a_listener_whose_workers_are_stopped() -> None:
    """The process that has made it waits for them, and is not to blame."""
    stalled = {"condition": Condition.STALLED, "facts": Facts(128, 100, drops=0)}
    found = why(ACCEPT, NOW, None, ASLEEP, STOPPED, STOPPED, **stalled)
    assert found.cause is Cause.NOT_ACCEPTING
    assert found.reason.endswith("; of the 3 threads that share it 2 are stopped")


def test_a_stall_needs_no_look_before() -> None:
    found = why(RECV, NOW, None, ASLEEP, condition=Condition.STALLED)
    assert (found.cause, found.reason) == (
        Cause.READER_NOT_READING, "reader (pid 17) has read nothing for 3.0 s; it sleeps in do_epoll_wait"
    )  # fmt: skip


def test_looks_before_the_first_alert_show_what_stands_still() -> None:
    found = why(RECV, NOW, None, ASLEEP, stood_still_s=8.0)
    assert found.reason == "reader (pid 17) has read nothing for 8.0 s; it sleeps in do_epoll_wait"
    assert said(RECV, NOW, None, ASLEEP, stood_still_s=0.9) == UNKNOWN
    assert said(RECV, NOW, SOME, ASLEEP, stood_still_s=8.0) == ("reader-slow", "high")
    assert said(SEND, SHUT, None, stood_still_s=8.0) == SHUT_SURELY


def test_of_udp_they_show_it_at_later_alerts_too() -> None:
    standing = ("reader-not-reading", "medium")
    for before in (None, earlier(NOW, 3)):
        assert said(RECV, NOW, before, ASLEEP, protocol=Protocol.UDP, stood_still_s=8.0) == standing
        assert said(RECV, NOW, before, ASLEEP, protocol=Protocol.UDP, stood_still_s=0.9) == UNKNOWN


def test_what_is_gone_is_not_explained() -> None:
    """A burst that has been read until the look: the facts are not those of the crossing."""
    assert said(RECV, replace(NOW, recv=SIZE // 2), None, STOPPED) == UNKNOWN
    assert said(SEND, replace(SHUT, send=SIZE // 2)) == UNKNOWN


def test_the_sentence_has_the_figures() -> None:
    found = why(SEND, now(timer=Timer.PERSIST, queued=850_000, **CLOSED), earlier(SHUT, 12))
    assert found.reason == (
        "the peer has not read for 12 s: its window is 0, 97.7 KiB stand unsent (81 % of the buffer)"
    )
    evidence = dict(found.evidence)
    assert (evidence["snd_wnd"], evidence["timer"], evidence["state"]) == (0, "persist", "ESTAB")


def test_what_a_kernel_lacks_is_not_in_the_evidence() -> None:
    evidence = dict(why(SEND, now(snd_wnd=None, busy_us=None)).evidence)
    assert "snd_wnd" not in evidence
    assert "busy_us" not in evidence
    assert "cwnd" in evidence


def test_every_cause_has_a_row() -> None:
    assert {cause for rows in ROWS.values() for cause, _ in rows} == set(Cause) - {Cause.UNKNOWN}
