# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Advice for services: by which settings, from what a store answers, and as rules that the settings take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sockbpf.errors import UnsupportedError
from sockbpf.judge.advice import Told
from sockbpf.judge.advice_known import Known
from sockbpf.judge.advice_service import flaps_marked
from sockbpf.judge.levels import Levels
from sockbpf.judge.rules import fits_process
from sockbpf.monitor import advising
from sockbpf.monitor.advised import advice_of, advised_rules, flapping_of, present_of
from sockbpf.monitor.advising import history_of
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.record.history import Sample, Series
from sockbpf.settings.advised_rule import match_of
from sockbpf.settings.config import Config, by_default, load
from tests.unit.http_servers import http_server, say

MIB = 2**20
WEB = Series("web1", "nginx.service", "tcp", "SEND")
PORT = WEB._replace(service="873")
AT_S = 1_795_341_600


def config_of(*rules: dict[str, Any], **keys: Any) -> Config:
    return Config.model_validate({"url": "http://127.0.0.1/", "rules": rules, **keys})


def seen(*all_series: Series, size: int = 9000, told: dict[Series, list[Told]] | None = None) -> Known:
    samples = {each: {AT_S + 10 * step: Sample(size, 1, 1, 0) for step in range(60)} for each in all_series}
    known = Known(AT_S, AT_S + 3600, samples)
    known.told.update(told or {})
    return known


def hour_of(at_s: float) -> int:
    return int(at_s) // 3600 % 24


@pytest.mark.parametrize(
    ("rule", "series", "found"),
    [
        ({"match": {"local_port": 443}}, PORT, MIB),
        ({"match": {"local_port": "800-900"}, "thresholds": {"send": "64KiB"}}, PORT, 65_536),
        ({"match": {"unit": "ng*.service"}, "thresholds": {"send": "64KiB"}}, WEB, 65_536),
        ({"match": {"unit": "ng*.service"}, "thresholds": {"recv": "64KiB"}}, WEB, MIB),
        ({"match": {"type": "RECV"}, "thresholds": {"send": 1}}, WEB, MIB),
        ({"match": {"protocol": "udp"}, "thresholds": {"send": 1}}, WEB, MIB),
        ({"match": {"listener": True}}, WEB, MIB),
        ({"match": {"process": "x"}, "name": "odd"}, WEB, "the rule odd is for some of its sockets only"),
        ({"match": {"unit": "x.service"}, "name": "odd"}, PORT, "the rule odd is for some of its sockets only"),
        ({"match": {"local_port": 443}, "name": "odd"}, WEB, "the rule odd is for some of its sockets only"),
        ({"match": {"protocol": "tcp"}, "ignore": True, "name": "off"}, WEB, "the rule off ignores it"),
        ({"match": {"type": "SEND"}, "thresholds": {"send": "80%"}}, WEB, "its threshold is a share of the buffer"),
    ],
)  # fmt: skip
def test_the_present_levels_are_those_of_the_rule(
    rule: dict[str, Any], series: Series, found: int | str
) -> None:
    present = present_of(config_of(rule), series)
    assert (present.threshold if isinstance(present, Levels) else present) == found


def test_what_no_rule_can_name_is_not_advised() -> None:
    for service in ("other", "user-1000.slice"):
        assert match_of(WEB._replace(service=service)) is None
        assert "no rule can name" in str(present_of(by_default(), WEB._replace(service=service)))
    assert "accept queue" in str(present_of(by_default(), WEB._replace(type="ACCEPT")))
    assert match_of(WEB._replace(service="x" * 64)) == {
        "unit": "x" * 64 + "*",
        "protocol": "tcp",
        "type": "SEND",
    }


def test_folded_alerts_without_a_unit_may_be_of_any() -> None:
    known = seen(WEB, PORT)
    known.unnamed.add(("tcp", "SEND"))
    reasons = [each.proposal.reason for each in advice_of(by_default(), known, hour_of)]
    assert all("folded alerts name no unit" in reason for reason in reasons)
    known = seen(WEB)
    known.is_whole = False
    (one,) = advice_of(by_default(), known, hour_of)
    assert "more was told than is read" in one.proposal.reason


def test_what_may_be_a_flap_is_marked() -> None:
    told = [Told(at_s, at_s + 2, 9, 1) for at_s in (0, 10, 20, 30, 100, 200, 210)]
    marked = [each.is_joined for each in flaps_marked(told, *flapping_of(by_default()))]
    assert marked == [False, False, True, True, False, False, False]
    assert not any(
        each.is_joined for each in flaps_marked(told, *flapping_of(config_of(flapping={"above": 0})))
    )
    assert all(each.is_joined for each in flaps_marked(told, *flapping_of(config_of(flapping={"above": 1}))))


NAMES = st.one_of(
    st.integers(0, 65_535).map(str),
    st.text(st.characters(codec="utf-8"), max_size=70).map(lambda text: f"{text}.service"),
)


@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.text(st.characters(codec="utf-8"), max_size=15),
    st.sampled_from([9000, 5 * MIB]),
)
@example(["\U0001d400.service"], "rsync", 9000)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_taken(tmp_path: Path, names: list[str], comm: str, size: int) -> None:
    """Whatever a service or a process calls itself."""
    every = [WEB._replace(service=name) for name in names]
    starts = [AT_S + 86_400 * day for day in range(5)]
    nightly = [Told(start, start + 1000, size, MIB, comm) for start in starts]
    known = seen(*every, size=size, told=dict.fromkeys(every, nightly) if size > MIB else None)
    present = config_of({"match": {"local_port": 1}, "name": "advised-873-SEND", "thresholds": {"send": 1}})
    given_ = list(advice_of(by_default(), known, hour_of))
    path = tmp_path / "config.yaml"
    path.write_text("url: http://127.0.0.1/\n" + advised_rules(present, given_), encoding="utf-8")
    rules = rules_of(load(path))
    assert len(rules) <= len(every)
    assert "advised-873-SEND" not in {rule.decision.applied.rule for rule in rules}
    if size < MIB and any(name.isdecimal() for name in names):
        assert {(rule.decision.threshold[0], rule.decision.hold_ns) for rule in rules} == {
            (16_384, 30 * 10**9)
        }


def test_the_name_of_a_process_is_no_pattern(tmp_path: Path) -> None:
    nightly = [
        Told(AT_S + 86_400 * day, AT_S + 86_400 * day + 1000, 5 * MIB, MIB, "a*[?]") for day in range(5)
    ]
    given_ = list(advice_of(by_default(), seen(WEB, size=5 * MIB, told={WEB: nightly}), hour_of))
    path = tmp_path / "config.yaml"
    path.write_text("url: http://127.0.0.1/\n" + advised_rules(by_default(), given_))
    (rule,) = rules_of(load(path))
    assert [fits_process(rule.match, name) for name in ("a*[?]", "a-[?]", "a*x")] == [True, False, False]


def test_what_is_written_keeps_what_the_rule_sets_that_applies_now(tmp_path: Path) -> None:
    written = {
        "name": "web", "match": {"unit": "nginx*"}, "severity": {"size": "critical"}, "hold": "40s", "repeat": "2m",
        "events": ["exceeded"], "clear_ratio": 0.5, "thresholds": {"send": "1MiB", "recv": "70%"},
        "stalled": {"after": "90s"}, "flapping": {"above": 3}, "destinations": ["http"],
    }  # fmt: skip
    now = config_of(written)
    text = advised_rules(now, list(advice_of(now, seen(WEB), hour_of)))
    path = tmp_path / "config.yaml"
    path.write_text("url: http://127.0.0.1/\n" + text)
    (made,) = load(path).rules
    differs = {"name": "advised-nginx.service-SEND", "match": made.match, "thresholds": made.thresholds}
    assert made == now.rules[0].model_copy(update=differs)
    assert made.thresholds == now.rules[0].thresholds.model_copy(update={"send": 32_768})


# what a store answers

Answer = Callable[[str], bytes]


@pytest.fixture
def answering() -> Iterator[Callable[[Answer], Config]]:
    """Return what starts a server that answers by a function of the path, and the settings that lead to it."""
    with ExitStack() as running:

        def begin(answer: Answer) -> Config:
            served = running.enter_context(http_server(lambda asks: say(200, answer(asks.path))(asks)))
            url = f"http://127.0.0.1:{served.port}"
            return config_of(destinations=[{"type": "store", "url": url}])

        yield begin


def ask(config: Config) -> Known:
    return history_of(config, "web1", "", AT_S, AT_S + 3600)


LISTED = {"services": [WEB._asdict()], "more": 0, "series": [], "times": []}
ROW = {
    "host": "web1", "id": "1", "type": "SEND", "protocol": "tcp", "unit": "nginx.service", "local_port": 443,
    "start": AT_S, "last": AT_S + 9, "end": AT_S + 9, "ended_by": "cleared", "peak": 9, "threshold": 5, "count": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[", b"[]", b"3", b"{}", b"\xff", b"[" * 100_000, b'{"services": 3}', b" " * (8 * MIB + 1)),
        *(
            json.dumps(LISTED | changed).encode()
            for changed in (
                {"services": [WEB._asdict() | {"host": "other"}]},
                {"services": [WEB._asdict() | {"service": 7}]},
                {"services": [WEB._asdict() | {"type": "x"}]},
                {"more": "x"},
                {"series": [{"size": [1]}], "times": [AT_S]},
                {"series": [{name: [-1] for name in Sample._fields}], "times": [AT_S]},
                {"series": [{name: [1, 2] for name in Sample._fields}], "times": [AT_S]},
                {"series": [{name: ["x"] for name in Sample._fields}], "times": [AT_S]},
            )
        ),
    ],
)
def test_a_history_that_no_store_has_is_refused(answering: Callable[[Answer], Config], body: bytes) -> None:
    with pytest.raises(UnsupportedError, match="not as a store does"):
        ask(answering(lambda path: body if path.startswith("/history") else b"[]"))


@pytest.mark.parametrize(
    "changed",
    [{"start": "x"}, {"start": 1e999}, {"peak": -1}, {"peak": 1.5}, {"threshold": None}],
)
def test_episodes_that_no_store_has_are_refused(
    answering: Callable[[Answer], Config], changed: dict[str, Any]
) -> None:
    rows = json.dumps([ROW | changed]).encode()
    listed = json.dumps(LISTED).encode()
    with pytest.raises(UnsupportedError, match="not as a store does"):
        ask(answering(lambda path: listed if path.startswith("/history") else rows))


def test_episodes_are_read_page_by_page_each_once(answering: Callable[[Answer], Config]) -> None:
    starts = sorted([AT_S + number // 3 for number in range(2500)], reverse=True)
    rows = [ROW | {"id": str(n), "start": start, "end": start + 1} for n, start in enumerate(starts)]
    listed = json.dumps(LISTED).encode()

    def answer(path: str) -> bytes:
        if path.startswith("/history"):
            return listed
        to_s = float(path.partition("to=")[2].partition("&")[0])
        return json.dumps([row for row in rows if float(str(row["start"])) < to_s][:1000]).encode()

    found = ask(answering(answer))
    assert found.is_whole
    assert len(found.told[WEB]) == 2500
    endless = json.dumps([ROW | {"id": str(n)} for n in range(1000)]).encode()
    assert not ask(answering(lambda path: listed if path.startswith("/history") else endless)).is_whole


def test_a_slow_store_is_not_asked_for_ever(
    answering: Callable[[Answer], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = json.dumps(LISTED).encode()
    config = answering(lambda path: listed if path.startswith("/history") else b"[]")
    monkeypatch.setattr(advising, "ENOUGH_S", -1.0)
    found = ask(config)
    assert (found.left_out, found.samples) == (1, {})
    monkeypatch.setattr(advising, "TOO_LONG_S", -1.0)
    with pytest.raises(UnsupportedError, match="no end of answers"):
        ask(config)


def test_an_episode_is_of_its_unit_else_of_its_port(answering: Callable[[Answer], Config]) -> None:
    rows = [
        ROW,
        ROW | {"id": "2", "unit": None, "count": 7, "end": None, "ended_by": None},
        ROW | {"id": "3", "unit": None, "condition": "stalled"},
        ROW | {"id": "4", "type": None},
    ]
    listed = json.dumps(LISTED).encode()
    found = ask(answering(lambda path: listed if path.startswith("/history") else json.dumps(rows).encode()))
    port = WEB._replace(service="443")
    assert found.told == {
        WEB: [Told(AT_S, AT_S + 9, 9, 5)],
        port: [Told(AT_S, AT_S + 9, 9, 5, is_whole=False, is_joined=True)],
    }
    assert list(found.others) == [port]
    assert found.unnamed == {("tcp", "SEND")}
