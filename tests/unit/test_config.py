# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What config.yaml may say: every fault of a file in one run, defaults, bounds, units; the file as shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sockbpf.errors import ConfigError
from sockbpf.record.alert import EVENTS, OF_RUN
from sockbpf.settings.config import (
    Config,
    Delivery,
    FlappingSettings,
    FoldSettings,
    JournalSettings,
    Kernel,
    MetricsSettings,
    SweepSettings,
    Thresholds,
    load,
)
from sockbpf.settings.destinations import MODELS
from sockbpf.settings.http import HttpOptions
from sockbpf.settings.stalled import StalledSettings
from tests.unit.written_settings import KEYS, URL, WEB, faults, keys_of, keys_written

SHIPPED = Path(__file__).parents[2] / "config.yaml"
REQUIRED = f":1: url: required, where alerts go, such as {URL}"
MAX_SIZE = 2**31 - 1


def good(file: Path, content: str) -> Config:
    file.write_text(f"url: {URL}\n{content}\n")
    return load(file)


def test_all_faults_of_a_file_are_told_in_one_run_by_line(file: Path) -> None:
    content = """\
url: ftp://host/
thresholds:
  send: lots
  recvv: 1
repeat: *x
delivery: {workers: 0}
log: info
log: info
"""
    assert faults(file, content) == [
        f":1: url: {WEB}, got 'ftp://host/'",
        ":3: thresholds > send: expected a size such as 64KiB or 80%, got 'lots'",
        ":4: thresholds > recvv: unknown key, did you mean 'recv'?",
        ":5: repeat: expected the value itself, got an alias (*name)",
        ":6: delivery > workers: expected a whole number from 1 to 64, got '0'",
        ":8: log: given twice, first on line 7",
    ]


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "---\n", "\ufeff", "{}", "---\n...\n"])
def test_url_is_required(file: Path, content: str) -> None:
    assert faults(file, content) == [REQUIRED]


def test_a_misspelt_url_is_told_as_both(file: Path) -> None:
    assert faults(file, f"\nurll: {URL}") == [REQUIRED, ":2: urll: unknown key, did you mean 'url'?"]


@pytest.mark.parametrize(
    ("content", "got"), [("[a]", "['a']"), ("[]", "[]"), ("text", "'text'"), ("7", "'7'")]
)
def test_top_is_keys_and_values(file: Path, content: str, got: str) -> None:
    assert faults(file, f"# a comment\n{content}") == [
        f":2: expected keys ({KEYS}) with their values, got {got}"
    ]


def test_a_key_given_twice_hides_no_fault_of_the_first(file: Path) -> None:
    assert faults(file, f"url: {URL}\nlog: loud\nlog: info\n") == [
        ":2: log: expected one of debug, info, warning, error, got 'loud'",
        ":3: log: given twice, first on line 2",
    ]


def test_a_byte_order_mark_is_no_fault(file: Path) -> None:
    assert faults(file, f"\ufeffurl: {URL}") == []


def test_a_chain_of_aliases_is_told_and_not_followed(file: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 30)]
    told = faults(file, "\n".join(lines))
    assert sum("got an alias" in fault for fault in told) == 29 * 9


def test_bytes_that_are_not_utf8_are_told_with_their_line(file: Path) -> None:
    assert faults(file, f"url: {URL}\nlog: \xe9".encode("latin-1")) == [
        ":2: expected UTF-8 text, got the byte 0xe9"
    ]
    assert faults(file, f"url: {URL}".encode("utf-16")) == [":1: expected UTF-8 text, got the byte 0xff"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "none.yaml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("/proc/self/mem"), "cannot be read: Input/output error"),
        (Path("/dev/zero"), "expected at most 262144 bytes, got more"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.faults == [f"{path}: {reason}"]
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError, match=r"No such file or directory, did you mean config\.yaml\?"):
        load(tmp_path / "config.yml")


def test_defaults(file: Path) -> None:
    config = good(file, "")
    assert config == Config(
        url=URL,
        thresholds=Thresholds(send=1024 * 1024, recv=1024 * 1024),
        stalled=StalledSettings(after=15.0, above=1024),
        clear_ratio=0.8,
        repeat=60.0,
        events=("exceeded", "ongoing", "cleared"),
        http=HttpOptions(),
        hold="auto",
        flapping=FlappingSettings(above=5, window=60.0),
        fold=FoldSettings(above=5, window=1.0),
        heartbeat=0.0,
        metrics=MetricsSettings(listen=None),
        journal=JournalSettings(path=Path("/var/lib/sockbpf/journal"), max_age=24 * 3600.0),
        delivery=Delivery(
            timeout=15.0, workers=4, queue=50_000, retry_first=0.5, retry_max=30.0, rate=0.0, burst=100
        ),
        sweep=SweepSettings(interval=30.0, recheck=1.0, poll=1.0),
        kernel=Kernel(hooks="auto", types="auto", look="auto", perf_pages=256, max_episodes=32768),
        log="info",
    )
    with pytest.raises(ValidationError):
        config.log = "debug"
    with pytest.raises(ValidationError):
        config.kernel.hooks = "none"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("", 10.0),
        ("hold: auto", 10.0),
        ("thresholds: {send: 1MiB, recv: 1MiB}", 10.0),
        ("thresholds: {recv: 64KiB}", 0.0),
        ("thresholds: {send: 64KiB}\nhold: auto", 0.0),
        ("thresholds: {send: 80%, recv: 80%}", 0.0),
        ("hold: 0s", 0.0),
        ("thresholds: {send: 64KiB}\nhold: 3s", 3.0),
    ],
)
def test_a_hold_that_is_not_written_depends_on_the_thresholds(
    file: Path, written: str, seconds: float
) -> None:
    assert good(file, written).hold_s == seconds


def test_bounds_are_inside(file: Path) -> None:
    least = good(
        file,
        """\
thresholds: {send: 0, recv: 0B}
clear_ratio: 0
repeat: 1
events: [exceeded]
hold: 0
fold: {above: 0, window: 10ms}
heartbeat: 1s
metrics: {listen: "[::1]:1"}
journal: {path: none, max_age: 1s}
delivery: {timeout: 1ms, workers: 1, queue: 1, retry_first: 1ms, retry_max: 1ms, rate: 0, burst: 1}
sweep: {interval: 1s, recheck: 0.1, poll: 50ms}
kernel: {hooks: none, types: headers, look: sock_diag, perf_pages: 1, max_episodes: 16}
log: error
""",
    )
    assert least.thresholds == Thresholds(send=0, recv=0)
    assert (least.clear_ratio, least.repeat, least.events) == (0.0, 1.0, ("exceeded",))
    assert (least.hold, least.fold, least.heartbeat) == (0.0, FoldSettings(above=0, window=0.01), 1.0)
    assert (least.metrics.listen, least.journal) == (("::1", 1), JournalSettings(path=None, max_age=1.0))
    assert least.delivery == Delivery(
        timeout=0.001, workers=1, queue=1, retry_first=0.001, retry_max=0.001, rate=0.0, burst=1
    )
    assert least.sweep == SweepSettings(interval=1.0, recheck=0.1, poll=0.05)
    most = good(
        file,
        """\
thresholds: {send: 2147483647, recv: 2147483647B}
clear_ratio: 1.0
repeat: 8760h
events: [cleared, ongoing, exceeded]
hold: 8760h
fold: {above: 1000000, window: 1h}
heartbeat: 8760h
metrics: {listen: "localhost:65535"}
journal: {path: /j, max_age: 8760h}
delivery:
  {timeout: 10m, workers: 64, queue: 1000000, retry_first: 8760h, retry_max: 8760h, rate: 1000000, burst: 1000000}
kernel: {hooks: kprobes, types: btf, perf_pages: 4096, max_episodes: 1048576}
log: debug
""",
    )
    assert most.thresholds == Thresholds(send=MAX_SIZE, recv=MAX_SIZE)
    assert (most.clear_ratio, most.events) == (1.0, ("cleared", "ongoing", "exceeded"))
    assert most.delivery.retry_max == most.repeat == most.hold == most.heartbeat == 365 * 24 * 3600
    assert most.fold == FoldSettings(above=1_000_000, window=3600.0)
    assert (most.metrics.listen, most.journal.path) == (("localhost", 65535), Path("/j"))
    assert (most.delivery.rate, most.delivery.burst) == (1e6, 1_000_000)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4096", 4096),
        ("'4096'", 4096),
        ("512B", 512),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("1.5MiB", 1_572_864),
        ("1.1MiB", 1_153_433),
        ("10MB", 10_000_000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("2GB", 2_000_000_000),
        ("1GiB", 1_073_741_824),
    ],
)
def test_sizes(file: Path, written: str, size: int) -> None:
    assert good(file, f"thresholds: {{send: {written}}}").thresholds.send == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1500ms", 1.5), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("1.5s", 1.5), ("7", 7.0), ("2.5", 2.5)],
)
def test_durations(file: Path, written: str, seconds: float) -> None:
    assert good(file, f"repeat: {written}").repeat == seconds


@settings(deadline=None)
@given(st.integers(0, MAX_SIZE))
def test_size_round_trip(size: int) -> None:
    forms: list[str | int] = [size, str(size), f"{size}B", f"{size // 1000}.{size % 1000:03}kB"]
    forms += [f"{size // 2**20}MiB"] if size % 2**20 == 0 else []
    for written in forms:
        assert Thresholds.model_validate({"send": written}).send == size


@settings(deadline=None)
@given(st.integers(1, 2047), st.sampled_from([("KiB", 2**10), ("MiB", 2**20), ("KB", 10**3), ("MB", 10**6)]))
def test_size_units(count: int, unit: tuple[str, int]) -> None:
    assert Thresholds.model_validate({"recv": f"{count}{unit[0]}"}).recv == count * unit[1]


@settings(deadline=None)
@given(st.integers(1000, 8760 * 3600 * 1000))
def test_duration_round_trip(ms: int) -> None:
    for written in (f"{ms}ms", f"{ms // 1000}.{ms % 1000:03}s", f"{ms // 1000}.{ms % 1000:03}", ms / 1000):
        assert Config.model_validate({"url": URL, "repeat": written}).repeat == ms / 1000


def test_the_shipped_file_shows_the_defaults_and_asks_for_all_events(file: Path) -> None:
    shipped, defaults = load(SHIPPED), good(file, "")
    assert shipped.url == URL
    assert (shipped.events, shipped.heartbeat) == ((*EVENTS, *OF_RUN), 60.0)
    of_defaults = {"events": defaults.events, "heartbeat": defaults.heartbeat}
    assert shipped.model_copy(update=of_defaults) == defaults


def test_the_shipped_file_has_every_key() -> None:
    assert keys_written(SHIPPED) == keys_of(Config)
    assert ("kernel", "perf_pages") in keys_written(SHIPPED)


def test_the_comments_of_the_shipped_file_name_every_choice() -> None:
    text = SHIPPED.read_text()
    for model, name in ((Kernel, "hooks"), (Kernel, "types"), (Config, "log")):
        for choice in get_args(model.model_fields[name].annotation):
            assert re.search(rf"#.*\b{choice}\b", text), choice


def test_the_destinations_in_comments_of_the_shipped_file_are_good(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SHIPPED.read_text()
    examples = re.sub(r"(?m)^#( +- \{type: )", r"\1", text.replace("destinations: []", "destinations:"))
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "slack-url").write_text(f"{URL}\n")
    (tmp_path / "pagerduty-key").write_text(f"{'k' * 32}\n")
    (tmp_path / "kafka-password").write_text("p\n")
    (tmp_path / "splunk-token").write_text("t\n")
    (tmp_path / "bigquery.json").write_text('{"type": "service_account"}')
    monkeypatch.setenv("SECOND_URL", URL)
    file.write_text(examples.replace("/etc/sockbpf/", f"{tmp_path}/"))
    config = load(file)
    assert {destination.type for destination in config.destinations} == set(MODELS)
    assert [destination.name for destination in config.destinations[:2]] == ["http", "second"]
    every = {name for model in MODELS.values() for name in model.model_fields}
    assert all(re.search(rf"#.*\b{name}\b|\b{name}:", text) for name in every)
