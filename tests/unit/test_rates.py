# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rates: when a counter rises fast enough for an episode, when that ends, and who is named."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.counters import Counters
from sockbpf.judge.rates import PATIENCE_NS, Rates
from sockbpf.judge.stages import Settings, Stages
from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED, ONGOING, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.rate import Counts, Droppers, HostCounter, Rate

S = 10**9
HOME, OTHER = 4026531840, 4026532197
NAME = "UdpRcvbufErrors"
W, C = Severity.WARNING, Severity.CRITICAL
BOTH = {NAME: {W: Rate(1, 1), C: Rate(100, 1)}}
DNS = Socket(Protocol.UDP, "127.0.0.1", 53, "0.0.0.0", 0, HOME, 8191, 1000)
OWNERS = {8191: (4003, "dnsmasq"), 8209: (4007, "rsyslogd")}


class Host:
    """A judge, and the counters that it is given each second."""

    def __init__(
        self,
        limits: Mapping[str, Mapping[Severity, Rate]] = BOTH,
        *,
        clear_ratio: float = 0.8,
        repeat_s: int = 60,
    ) -> None:
        self.rates = Rates("salt", lambda inode: OWNERS.get(inode, (0, "")))
        self.rates.use(limits, clear_ratio, repeat_s * S)
        self.ns = 1009 * S
        self.values = {HOME: dict.fromkeys(limits, 0), OTHER: dict.fromkeys(limits, 0)}
        self.look()

    def look(
        self, rise: int = 0, *, after_s: float = 1, netns: int = HOME, droppers: Droppers = ()
    ) -> list[Notice]:
        """Let all counters of a namespace rise, and look after a while."""
        self.ns += int(after_s * S)
        if netns in self.values:
            for name in self.values[netns]:
                self.values[netns][name] += rise
        seen = tuple(
            Counts(each, self.ns, dict(values), droppers if each == netns else ())
            for each, values in self.values.items()
        )
        return self.rates.on_look(seen)

    def words(self, *rises: int) -> list[tuple[str, str, int]]:
        """Return event, severity and size of the notices of such rises, one each second."""
        return [word(notice) for rise in rises for notice in self.look(rise)]


def word(notice: Notice) -> tuple[str, str, int]:
    return notice.event, notice.severity.value, notice.size


def test_more_than_the_threshold_in_a_second_begins_an_episode_and_the_notice_says_what_it_is_of() -> None:
    host = Host()
    assert host.words(1, 0, 1) == []
    (notice,) = host.look(2)
    assert (notice.event, notice.condition, notice.severity) == (EXCEEDED, Condition.RATE, W)
    assert (notice.size, notice.peak, notice.threshold, notice.rate) == (2, 2, 1, Rate(1, 1))
    assert (notice.counter, notice.socket) == (HostCounter(NAME, HOME), None)
    assert (notice.direction, notice.mode, notice.ns, notice.since_ns) == (
        Direction.RATE,
        Mode.POLL,
        host.ns,
        host.ns,
    )
    assert host.rates.is_open(notice.id)
    assert len(host.rates) == 1


def test_what_was_counted_before_the_first_look_is_no_rise() -> None:
    rates = Rates("salt", lambda _: (0, ""))
    rates.use(BOTH, 0.8, 60 * S)
    assert rates.on_look((Counts(HOME, S, {NAME: 10007}),)) == []
    assert rates.on_look((Counts(HOME, 2 * S, {NAME: 10007}),)) == []


def test_it_is_cleared_after_five_quiet_seconds_and_not_before() -> None:
    host = Host()
    host.look(5)
    assert host.words(0, 0, 2, 0, 0, 0, 0, 0) == []
    (cleared,) = host.look(0)
    assert (cleared.event, cleared.size, cleared.peak) == (CLEARED, 0, 5)
    assert len(host.rates) == 0
    assert not host.rates.is_open(cleared.id)


def test_who_dropped_stays_known_after_its_socket_is_closed() -> None:
    host = Host()
    (begun,) = host.look(5, droppers=((DNS, 5),))
    assert (begun.pid, begun.comm) == OWNERS[8191]
    host.rates._owner_of = lambda _: (0, "")
    cleared = [notice for _ in range(7) for notice in host.look(0)]
    assert [(notice.event, notice.pid, notice.comm) for notice in cleared] == [(CLEARED, *OWNERS[8191])]


def test_the_clear_level_is_that_part_of_the_threshold() -> None:
    limits = {NAME: {W: Rate(10, 1)}}
    host = Host(limits, clear_ratio=0.8)
    assert host.words(11, *[9] * 7) == [(EXCEEDED, "warning", 11)]
    assert host.words(*[8] * 6) == [(CLEARED, "warning", 8)]


def test_a_critical_rate_has_an_episode_of_its_own_at_once() -> None:
    host = Host()
    (warning,) = host.look(50)
    (critical,) = host.look(101)
    assert (critical.event, critical.severity, critical.threshold) == (EXCEEDED, C, 100)
    assert critical.id != warning.id
    ended = [notice for _ in range(6) for notice in host.look(0)]
    assert [(n.event, n.severity, n.id) for n in ended] == [
        (CLEARED, C, critical.id),
        (CLEARED, W, warning.id),
    ]


def test_a_rate_that_is_critical_at_once_is_one_alert_and_a_warning_follows_it() -> None:
    host = Host()
    assert host.words(500) == [(EXCEEDED, "critical", 500)]
    assert host.words(*[50] * 5) == []
    assert host.words(50) == [(CLEARED, "critical", 50), (EXCEEDED, "warning", 50)]


def test_while_it_is_critical_the_warning_is_not_repeated() -> None:
    host = Host(repeat_s=2)
    assert host.words(50, 500, 500, 500) == [
        (EXCEEDED, "warning", 50), (EXCEEDED, "critical", 500), (ONGOING, "critical", 500),
    ]  # fmt: skip


def test_it_goes_on_at_each_repeat_with_the_highest_rate() -> None:
    host = Host(repeat_s=3)
    host.look(20)
    assert host.words(3, 7, 5) == [(ONGOING, "warning", 5)]
    notices = [notice for rise in (9, 9, 9) for notice in host.look(rise)]
    assert [(n.size, n.peak, n.ns - n.since_ns) for n in notices] == [(9, 20, 6 * S)]


def test_each_namespace_is_judged_by_itself() -> None:
    host = Host()
    (notice,) = host.look(7, netns=OTHER)
    assert notice.counter == HostCounter(NAME, OTHER)
    (home,) = host.look(9)
    assert home.counter == HostCounter(NAME, HOME)


def test_each_counter_is_judged_by_itself() -> None:
    host = Host({NAME: {W: Rate(1, 1)}, "TcpRetransSegs": {C: Rate(5, 1)}})
    told = {(n.counter.name, n.severity) for n in host.look(6) if n.counter}
    assert told == {("TcpRetransSegs", C), (NAME, W)}


def test_a_rate_a_minute_counts_the_last_sixty_seconds() -> None:
    host = Host({NAME: {W: Rate(10, 60)}})
    assert host.words(*[1] * 10) == []
    assert host.words(1) == [(EXCEEDED, "warning", 11)]
    assert host.words(*[0] * 49) == [], "all of it is within a minute"
    ended = host.words(*[0] * 20)
    assert [event for event, _, _ in ended] == [CLEARED]


def test_a_look_that_comes_late_is_counted_by_its_time() -> None:
    host = Host()
    assert host.look(4, after_s=4) == []
    assert [word(n) for n in host.look(9, after_s=4)] == [(EXCEEDED, "warning", 3)], (
        "2.25 a second, rounded up"
    )


def test_a_look_that_comes_a_little_late_is_counted_as_it_is() -> None:
    assert [word(n) for n in Host().look(20_011, after_s=1.09)] == [(EXCEEDED, "critical", 20_011)]


def test_a_counter_that_begins_anew_is_no_rise() -> None:
    host = Host()
    host.look(1)
    host.values[HOME][NAME] = 0
    assert host.look() == []
    assert host.words(2) == [(EXCEEDED, "warning", 2)]


def test_an_episode_of_a_namespace_that_is_gone_ends_at_the_second_look() -> None:
    host = Host()
    (begun,) = host.look(7, netns=OTHER)
    del host.values[OTHER]
    assert host.look() == []
    (ended,) = host.look()
    assert (ended.event, ended.id, ended.size) == (CLEARED, begun.id, 0)


def test_a_look_that_missed_a_namespace_once_ends_nothing() -> None:
    host = Host()
    host.look(7, netns=OTHER)
    values = host.values.pop(OTHER)
    host.look()
    host.values[OTHER] = values
    assert host.look() == []
    del host.values[OTHER]
    assert host.look() == []


def test_new_settings_end_episodes_whose_limit_is_gone_and_keep_the_others() -> None:
    host = Host()
    (warning,) = host.look(50)
    (critical,) = host.look(500)
    host.rates.use({NAME: {W: Rate(1, 1), C: Rate(1000, 1)}}, 0.8, 60 * S)
    assert host.rates.next_due_ns() == 0
    (ended,) = host.rates.on_time(host.ns)
    assert (ended.event, ended.id) == (CLEARED, critical.id)
    assert host.rates.next_due_ns() is None
    assert host.rates.is_open(warning.id)
    assert host.words(1001) == [(EXCEEDED, "critical", 1001)]


def test_the_only_socket_that_dropped_is_named_with_its_owner() -> None:
    (notice,) = Host().look(7, droppers=((DNS, 7),))
    assert (notice.droppers, notice.pid, notice.comm) == (((DNS, 7),), 4003, "dnsmasq")


def test_of_several_sockets_the_worst_comes_first_with_its_drops_since_the_episode_began() -> None:
    syslog = Socket(Protocol.UDP, "0.0.0.0", 514, "0.0.0.0", 0, HOME, 8209, 0)
    host = Host(repeat_s=1)
    host.look(5, droppers=((DNS, 3), (syslog, 2)))
    (notice,) = host.look(9, droppers=((syslog, 9),))
    assert (notice.droppers, notice.pid, notice.comm) == (((syslog, 11), (DNS, 3)), 0, "")


def test_a_counter_names_only_sockets_of_its_protocol_and_family() -> None:
    six = Socket(Protocol.UDP, "::1", 53, "::", 0, HOME, 8209, 0)
    mapped = Socket(Protocol.UDP, "::ffff:127.0.0.1", 53, "::", 0, HOME, 8219, 0)
    names = (NAME, "Udp6RcvbufErrors", "TcpRetransSegs")
    notices = Host({name: {W: Rate(1, 1)} for name in names}).look(
        2, droppers=((DNS, 1), (six, 1), (mapped, 1))
    )
    named = {n.counter.name: {socket for socket, _ in n.droppers} for n in notices if n.counter}
    assert named == {NAME: {DNS, mapped}, "Udp6RcvbufErrors": {six}, "TcpRetransSegs": set()}


def test_many_sockets_of_an_episode_are_remembered_only_to_a_bound() -> None:
    host = Host(repeat_s=1)
    for number in range(2003):
        one = Socket(Protocol.UDP, "127.0.0.1", 1 + number, "0.0.0.0", 0, HOME, 9001 + number, 0)
        (notice,) = host.look(5, droppers=((one, 1 + number),))
    assert len(notice.droppers) == 5
    assert max(drops for _, drops in notice.droppers) == 1024


def test_the_stages_tell_counters_and_severities_apart_and_never_fold_them() -> None:
    settings = Settings(frozenset(EVENTS), 60 * S, 5, 60 * S, 1, S)
    host = Host({NAME: {W: Rate(1, 1), C: Rate(9, 1)}, "UdpInErrors": {W: Rate(1, 1)}})
    stages = Stages(settings, Counters(), host.rates.is_open)
    passed = [one for rise in (2, 50) for one in stages.on_notices(host.look(rise), host.ns)]
    told = {(n.counter.name, n.severity) for n in passed if isinstance(n, Notice) and n.counter}
    assert len(passed) == 3
    assert told == {("UdpInErrors", W), (NAME, C), (NAME, W)}


def test_a_rate_that_flaps_is_counted() -> None:
    settings = Settings(frozenset(EVENTS), 60 * S, 5, 60 * S, 0, S)
    host = Host({NAME: {W: Rate(1, 1)}})
    counters = Counters()
    stages = Stages(settings, counters, host.rates.is_open)
    passed = [
        one for _ in range(4) for rise in (9, *[0] * 6) for one in stages.on_notices(host.look(rise), host.ns)
    ]
    assert [n.event for n in passed if isinstance(n, Notice)] == [
        EXCEEDED,
        CLEARED,
        EXCEEDED,
        CLEARED,
        EXCEEDED,
    ]
    assert counters.snapshot()["flapped"] == 3


@given(st.lists(st.integers(0, 4), max_size=120))
def test_every_crossing_is_in_one_episode(rises: list[int]) -> None:
    """A plain model: over since the last crossing, until five quiet seconds have passed."""
    host, over, quiet = Host({NAME: {W: Rate(2, 1)}}, clear_ratio=0.5), False, 0
    for rise in rises:
        told = [notice.event for notice in host.look(rise)]
        expected = []
        if over:
            quiet = quiet + 1 if rise <= 1 else 0
            if quiet > PATIENCE_NS // S:
                over, quiet, expected = False, 0, [CLEARED]
        elif rise > 2:
            over, quiet, expected = True, 0, [EXCEEDED]
        assert told in (expected, [ONGOING] if over and not expected else expected)
