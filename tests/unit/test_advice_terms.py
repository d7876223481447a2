# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""By which settings a store takes a service to be judged: it is not told them."""

from __future__ import annotations

from typing import Any

import pytest

from sockbpf.judge.advice import Told
from sockbpf.judge.advice_known import LONGEST_S, Known
from sockbpf.judge.advice_service import Terms
from sockbpf.record.history import Series
from sockbpf.store.data.values import EntryError
from sockbpf.store.web.advice import Asked, asked_by, terms_of
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
    assert asked(to=1e30).end_s == 2**32


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
