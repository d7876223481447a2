# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The settings of rates: what is taken, and each fault with its line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockbpf.monitor.rates import limits_of, unknown_counters
from sockbpf.record.facts import Severity
from sockbpf.record.rate import Rate
from sockbpf.settings.config import Config, load
from tests.unit.written_settings import URL, faults

NAME = "expected a counter by the name that nstat prints, such as UdpRcvbufErrors"
FORM = "expected a rate such as 5/s or 10/m"
GAUGE = "expected a counter, which only rises; this one is a setting or a present number"
ONE = "expected warning, critical or both, such as {warning: 1/s}"

BAD = {
    "plain-number": (
        "rates:\n  UdpInErrors: {warning: 5}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '5'",
    ),
    "per-hour": (
        "rates:\n  UdpInErrors: {warning: 5/h}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '5/h'",
    ),
    "per-minute-word": (
        "rates:\n  UdpInErrors: {warning: 5/min}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '5/min'",
    ),
    "no-number": (
        "rates:\n  UdpInErrors: {critical: /s}",
        f"3: rates > UdpInErrors > critical: {FORM}, got '/s'",
    ),
    "negative": (
        "rates:\n  UdpInErrors: {warning: -1/s}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '-1/s'",
    ),
    "fraction": (
        "rates:\n  UdpInErrors: {warning: 0.5/s}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '0.5/s'",
    ),
    "leading-zero": (
        "rates:\n  UdpInErrors: {warning: 01/s}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '01/s'",
    ),
    "space": (
        "rates:\n  UdpInErrors: {warning: 1 /s}",
        f"3: rates > UdpInErrors > warning: {FORM}, got '1 /s'",
    ),
    "empty": ("rates:\n  UdpInErrors:\n    warning:", f"4: rates > UdpInErrors > warning: {FORM}, got ''"),
    "list": (
        "rates:\n  UdpInErrors: {warning: [1/s]}",
        f"3: rates > UdpInErrors > warning: {FORM}, got ['1/s']",
    ),
    "too-much": (
        "rates:\n  UdpInErrors: {warning: 1000000001/s}",
        "3: rates > UdpInErrors > warning: expected a rate of at most 1000000000, got '1000000001/s'",
    ),
    "critical-below": (
        "rates:\n  UdpInErrors:\n    warning: 5/s\n    critical: 4/s",
        "5: rates > UdpInErrors > critical: expected more than warning, 5/s, got '4/s'",
    ),
    "critical-same-in-another-unit": (
        "rates:\n  UdpInErrors: {warning: 5/s, critical: 300/m}",
        "3: rates > UdpInErrors > critical: expected more than warning, 5/s, got '300/m'",
    ),
    "neither": ("rates:\n  UdpInErrors: {}", f"3: rates > UdpInErrors: {ONE}, got {{}}"),
    "unknown-key": (
        "rates:\n  UdpInErrors: {warnig: 5/s, critical: 9/s}",
        "3: rates > UdpInErrors > warnig: unknown key, did you mean 'warning'?",
    ),
    "another-key": (
        "rates:\n  UdpInErrors: {critical: 9/s, hold: 5s}",
        "3: rates > UdpInErrors > hold: unknown key, expected one of warning, critical",
    ),
    "rate-without-severity": (
        "rates:\n  UdpInErrors: 5/s",
        "3: rates > UdpInErrors: expected keys (warning, critical) with their values, got '5/s'",
    ),
    "lower-case": (
        "rates:\n  udpRcvbufErrors: {warning: 5/s}",
        f"3: rates > udpRcvbufErrors: {NAME}, got 'udpRcvbufErrors'",
    ),
    "without-group": (
        "rates:\n  RcvbufErrors: {warning: 5/s}",
        f"3: rates > RcvbufErrors: {NAME}, got 'RcvbufErrors'",
    ),
    "underscore": (
        "rates:\n  Udp_InErrors: {warning: 5/s}",
        f"3: rates > Udp_InErrors: {NAME}, got 'Udp_InErrors'",
    ),
    "group-alone": ("rates:\n  Udp: {warning: 5/s}", f"3: rates > Udp: {NAME}, got 'Udp'"),
    "present-number": (
        "rates:\n  TcpCurrEstab: {warning: 5/s}",
        f"3: rates > TcpCurrEstab: {GAUGE}, got 'TcpCurrEstab'",
    ),
    "no-names": ("rates: 5/s", "2: rates: expected names with their values, got '5/s'"),
    "list-of-names": (
        "rates: [UdpInErrors]",
        "2: rates: expected names with their values, got ['UdpInErrors']",
    ),
}


@pytest.mark.parametrize(("text", "fault"), BAD.values(), ids=BAD)
def test_a_fault_is_said_with_its_line_and_key(text: str, fault: str, tmp_path: Path) -> None:
    assert faults(tmp_path / "config.yaml", f"url: {URL}\n{text}\n") == [f":{fault}"]


def test_all_faults_are_said_in_one_run(tmp_path: Path) -> None:
    text = "rates:\n  udp: {warning: 5/s}\n  UdpInErrors: {warning: x}\n  UdpNoPorts: {critical: 1}\n"
    told = faults(tmp_path / "config.yaml", f"url: {URL}\n{text}")
    assert [fault.split(":")[1] for fault in told] == ["3", "4", "5"]


def test_more_counters_than_there_may_be(tmp_path: Path) -> None:
    many = "".join(f"  UdpX{number}: {{warning: 5/s}}\n" for number in range(65))
    (fault,) = faults(tmp_path / "config.yaml", f"url: {URL}\nrates:\n{many}")
    assert fault.startswith(":2: rates: expected at most 64 counters")


def written(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(f"url: {URL}\n{text}\n")
    return load(file)


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    default = {"UdpRcvbufErrors": {Severity.WARNING: Rate(1, 1), Severity.CRITICAL: Rate(100, 1)}}
    assert limits_of(written(tmp_path, "")) == default


def test_what_is_said_takes_the_place_of_the_default(tmp_path: Path) -> None:
    text = "rates: {TcpRetransSegs: {critical: 10/m}, Udp6RcvbufErrors: {warning: 0/s}}"
    assert limits_of(written(tmp_path, text)) == {
        "TcpRetransSegs": {Severity.CRITICAL: Rate(10, 60)}, "Udp6RcvbufErrors": {Severity.WARNING: Rate(0, 1)},
    }  # fmt: skip
    assert limits_of(written(tmp_path, "rates: {}")) == {}


def test_a_counter_that_this_kernel_does_not_have_is_said_with_similar_ones(tmp_path: Path) -> None:
    text = "rates: {UdpRcvbufErrrors: {warning: 1/s}, UdpInErrors: {warning: 1/s}}"
    (sentence,) = unknown_counters(written(tmp_path, text))
    assert sentence.startswith(
        "rates > UdpRcvbufErrrors: this kernel has no such counter; similar ones: UdpRcvbufErrors"
    )
    assert unknown_counters(written(tmp_path, "rates: {}")) == []
