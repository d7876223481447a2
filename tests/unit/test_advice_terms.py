# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""By which settings a store takes a service to be judged: it is not told them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sockbpf.judge.advice import Told
from sockbpf.judge.advice_known import LONGEST_S, Known
from sockbpf.judge.advice_service import Terms
from sockbpf.record.event import Protocol
from sockbpf.record.history import Sample, Series
from sockbpf.settings.advised_rule import rule_of
from sockbpf.settings.config import load
from sockbpf.settings.fields import DURATIONS, quantity
from sockbpf.store.data.values import EntryError
from sockbpf.store.web.advice import Asked, answer_of, asked_by, terms_of
from tests.unit.policies import S

MIB = 2**20
WEB = Series("web1", "nginx.service", "tcp", "SEND")
NOW_S = 1_795_343_123.5


def asked(**said: Any) -> Asked:
    return asked_by([*WEB._asdict().items(), *((name, str(value)) for name, value in said.items())], NOW_S)


def taken(known: list[Told], **said: Any) -> tuple[int, float, str]:
    """Return threshold, hold in seconds, and what is said of these."""
    terms, assumed = terms_of(asked(**said), Known(0, 0, told={WEB: known}))
    assert isinstance(terms, Terms)
    assert terms.present.clear == int(terms.present.threshold * 0.8)
    return terms.present.threshold, terms.present.hold_ns / S, assumed


def test_the_threshold_is_that_of_the_latest_alert() -> None:
    told = [Told(500, 501, 9 * MIB, 4 * MIB), Told(900, 901, MIB, 65_536), Told(100, 101, MIB, 9)]
    assert taken(told) == (65_536, 0, "64KiB, as last told; without a hold")
    assert taken([]) == (MIB, 10, "1MiB, the default, as nothing was told; for 10 s, the default with it")
    assert taken(told, threshold=3000)[:2] == (3000, 0)
    assert taken(told, threshold=0, hold=0.5) == (0, 0.5, "0, as asked; for 0.5 s, as asked")


def test_the_default_threshold_has_its_hold_unless_shorter_ones_were_told() -> None:
    long, short = Told(100, 110, 2 * MIB, MIB), Told(200, 209, 2 * MIB, MIB)
    assert taken([long])[1] == 10
    assert taken([long, short])[1] == 0
    assert taken([long, short._replace(is_whole=False)])[1] == 10
    assert taken([long], hold=0) == (MIB, 0, "1MiB, as last told; without a hold, as asked")
    assert taken([long], hold=30)[1] == 30


def test_a_share_of_the_buffer_is_no_threshold_in_bytes() -> None:
    row = {
        "host": "web1", "id": "1", "type": "SEND", "protocol": "tcp", "unit": "nginx.service", "local_port": 443,
        "start": 100, "last": 109, "end": 109, "ended_by": "cleared", "peak": 9, "threshold": 5, "condition": "fill",
    }  # fmt: skip
    known = Known(0, 0)
    known.add_episode(row)
    assert terms_of(asked(), known) == ("its threshold is a share of the buffer", "")
    assert isinstance(terms_of(asked(threshold=9), known)[0], Terms)
    known.add_episode(row | {"id": "2", "condition": "size"})
    assert isinstance(terms_of(asked(), known)[0], Terms)


def test_the_time_is_bounded() -> None:
    assert (asked().begin_s, asked().end_s) == (NOW_S - 7 * 86_400, NOW_S)
    for said in ({"from": 0}, {"from": -1e9}):
        assert asked(**said).begin_s == NOW_S - LONGEST_S
    assert (asked(to=5).begin_s, asked(to=5).end_s) == (0, 5)
    assert asked(**{"from": NOW_S + 9}).begin_s == NOW_S
    pairs = list(WEB._asdict().items())
    assert asked_by(pairs, NOW_S, 3600).begin_s == NOW_S - 3600, "no longer than all is kept"
    assert asked_by([*pairs, ("to", "5")], NOW_S, 3600).begin_s == 5
    assert asked(to=1e30).end_s == 2**32


def looked(series: Series, size: int, told: list[Told]) -> dict[str, Any]:
    """Return the answer where each look of an hour found this, and this was told."""
    known = Known.between(NOW_S - 3600, NOW_S)
    known.samples[series] = {
        at_s: Sample(size, 1, 1, 0) for at_s in range(known.begin_s, known.begin_s + 3600, 10)
    }
    known.told[series] = told
    pairs = [(name, str(value)) for name, value in series._asdict().items()]
    return answer_of(asked_by(pairs, NOW_S), known, 10)


def test_nothing_is_advised_by_settings_that_the_looks_disprove() -> None:
    found = looked(WEB, 5 * MIB, [])
    assert (found["tried"], found["rule"], found["told"], found["by_looks"]) == ([], None, 0, 1)
    assert found["reason"].startswith(
        "not advised: by the looks these settings would have told 1 times, and told 0:"
    )
    begin_s = NOW_S - 3600
    assert looked(WEB, 5 * MIB, [Told(begin_s, begin_s + 3600, 5 * MIB, MIB)])["tried"]


def test_rules_for_both_protocols_of_a_service_can_be_copied_together(tmp_path: Path) -> None:
    texts = [looked(WEB._replace(protocol=protocol), 20_000, [])["rule"] for protocol in ("tcp", "udp")]
    file = tmp_path / "config.yaml"
    file.write_text("url: http://127.0.0.1/\nrules:\n" + "".join(texts))
    assert [rule.match.protocol for rule in load(file).rules] == [(Protocol.TCP,), (Protocol.UDP,)]


@pytest.mark.parametrize("hold_s", [0.001, 0.5, 10, 86_400, 12_345.678])
def test_a_hold_is_written_as_settings_read_it(hold_s: float) -> None:
    rule = rule_of(WEB, "", {"send": "1MiB"}, hold_s)
    assert rule
    assert float(quantity(str(rule["hold"]), DURATIONS) or 0) == hold_s
    assert asked(hold=0.0000123).hold_s == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("threshold", value) for value in ("-1", "2147483648", "64KiB", "1e3", "", "٣")),
        *(("hold", value) for value in ("-1", "86401", "1s", "nan", "inf", "")),
        *(("utc_offset", value) for value in ("86401", "-86401", "1.5", "+1", "", "٣", "--1", "9" * 5000)),
        *(("from", value) for value in ("x", "nan", "")),
        *(("type", value) for value in ("RATE", "send", "")),
        *(("host", ""), ("protocol", "sctp"), ("further", "1")),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(EntryError):
        asked_by([*(WEB._asdict() | {name: value}).items()], NOW_S)


@pytest.mark.parametrize("name", Series._fields)
def test_all_names_are_required_once(name: str) -> None:
    pairs = list(WEB._asdict().items())
    with pytest.raises(EntryError, match=f"{name}: expected"):
        asked_by([pair for pair in pairs if pair[0] != name], NOW_S)
    with pytest.raises(EntryError, match="each once"):
        asked_by([*pairs, (name, getattr(WEB, name))], NOW_S)
