# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What check_sockbpf makes of figures: ranges, states, the first line and performance data of the guidelines."""

from __future__ import annotations

import re

import pytest

from sockbpf.plugin.of_monitor import WORDS, judged, with_defaults
from sockbpf.plugin.verdict import Figure, Ranges, State, range_of, verdict
from tests.unit.statuses import QUEUE, TOLD

NO_RANGES = with_defaults({}, {})


@pytest.mark.parametrize(
    ("text", "calm", "alarming"),
    [
        ("10", [0, 10, 5.5], [-1, 10.1, 11]),
        ("10:", [10, 1e9], [9.9, -5]),
        ("~:10", [-1e9, 10], [10.1]),
        ("10:20", [10, 15, 20], [9.9, 20.1]),
        ("@10:20", [9.9, 20.1], [10, 15, 20]),
        ("@10", [-1, 11], [0, 10]),
        ("0", [0], [1, -1]),
        ("-5:5.5", [-5, 5.5], [-5.1, 5.6]),
        (":3", [0, 3], [4]),
    ],
)
def test_ranges(text: str, calm: list[float], alarming: list[float]) -> None:
    assert not any(range_of(text).alarms(value) for value in calm)
    assert all(range_of(text).alarms(value) for value in alarming)


@pytest.mark.parametrize("text", ["", "@", ":", "5:1", "a", "1:2:3", "1e3", "~", "1,2", "--1", "٣", "1" * 16])
def test_no_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="is no range"):
        range_of(text)


def test_a_quiet_monitor_is_ok_in_a_short_line() -> None:
    said = judged(TOLD, NO_RANGES, 0, State.WARNING).text()
    assert said == (
        "SOCKBPF OK - 0 over, 0 stalled | over=0;0;;0 stalled=0;0;;0 oldest=0s;;;0 owed=0;;;0 lost=0c;0;;0"
    )


def test_the_worse_state_wins_and_is_said_first() -> None:
    ranges = Ranges({"over": range_of("2")}, {"stalled": range_of("0"), "owed": range_of("10")})
    told = TOLD | {"over": 3, "stalled": 1, "owed": 7, "oldest": 61.5, "open": [QUEUE]}
    said = judged(told, ranges, 0, State.WARNING)
    assert said.state is State.CRITICAL
    assert said.line.startswith("1 stalled, 3 over, worst: fifteen letters tcp SEND [2001:db8:")
    assert "over=3;2;;0 stalled=1;;0;0 oldest=61.5s;;;0 owed=7;;10;0" in said.perfdata


@pytest.mark.parametrize(
    ("changed", "state", "words"),
    [
        ({"blind": ["the thread sweep hangs"]}, State.CRITICAL, "blind: the thread sweep hangs, 0 over"),
        ({"state": "starting"}, State.WARNING, "starting: "),
        ({"unseen": ["no hooks: old"]}, State.WARNING, "not all is seen by hooks: no hooks: old"),
        ({"lost": 1}, State.WARNING, "1 lost, 0 over"),
        ({"over": 1}, State.WARNING, "1 over, 0 stalled"),
    ],
)
def test_states_of_their_own(changed: dict[str, object], state: State, words: str) -> None:
    said = judged(TOLD | changed, NO_RANGES, 0, State.WARNING)
    assert (said.state, said.line[: len(words)]) == (state, words)


def test_missing_hooks_may_be_ok() -> None:
    assert judged(TOLD | {"unseen": ["x"]}, NO_RANGES, 0, State.OK).state is State.OK


def test_more_lines_are_for_who_asks() -> None:
    told = TOLD | {"over": 30, "open": [QUEUE] * 30, "losses": {"dropped": 7}}
    lines = [judged(told, NO_RANGES, verbose, State.WARNING).lines for verbose in range(5)]
    assert [len([line for line in each if line.startswith("critical")]) for each in lines] == [
        0,
        5,
        20,
        30,
        30,
    ]
    assert "lost: dropped=7" in lines[1]
    assert lines[3][-1].startswith("counters: events=7")


@pytest.mark.parametrize("comm", ["a|over=0", "a\nOK", "\x1b[2J", "a | b\\"])
def test_no_name_forges_anything(comm: str) -> None:
    told = TOLD | {"over": 1, "open": [QUEUE | {"comm": comm}]}
    text = judged(told, NO_RANGES, 1, State.WARNING).text()
    assert text.count("|") == 1
    assert len(text.split("\n")) == 2
    assert "\x1b" not in text


def test_performance_data_are_what_the_guidelines_say() -> None:
    labels = list(WORDS)
    assert len({label[:19] for label in labels}) == len(labels)
    perfdata = judged(TOLD | {"oldest": 1e9 / 3, "lost": 10**15}, NO_RANGES, 0, State.OK).perfdata
    form = r"[a-z]+=[0-9]+(\.[0-9]+)?(s|c|B|%)?;[^; ]*;[^; ]*;0"
    assert all(re.fullmatch(form, each) for each in perfdata.split(" "))


def test_without_figures_that_alarm_only_those_meant_for_it_are_said() -> None:
    figures = [Figure("a", 1, "{} a"), Figure("b", 2.5, "{} b", is_said=False)]
    assert verdict(figures, Ranges()).line == "1 a"
    assert verdict(figures, Ranges({"b": range_of("2")})).line == "2.5 b, 1 a"
