# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What config.yaml may say, and what is told when it says something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from sockbpf.errors import ConfigError
from sockbpf.record.alert import EVENTS
from sockbpf.settings import yaml_source
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

SHIPPED = Path(__file__).parents[2] / "config.yaml"
URL = "http://127.0.0.1:8080/alert"
WEB = f"expected an http or https address with a host, such as {URL}"
SPACES = "expected a url without spaces, control characters and backslashes"
PORT = "expected a port from 1 to 65535"
HOST_PORT = "expected a host and a port such as 127.0.0.1:9464 or [::1]:9464"
ABSOLUTE = "expected the absolute path of a file"
REQUIRED = f":1: url: required, where alerts go, such as {URL}"
KEYS = (
    "url, http, thresholds, clear_ratio, repeat, events, hold, flapping, fold, heartbeat, metrics, journal, "
    "delivery, destinations, sweep, kernel, store, log"
)
TAG = "expected a value without a tag, got one (!...): if it is the value itself, quote it"
EVENT_LIST = "expected a list with exceeded in it and no event twice"
OPEN_QUOTE = "while scanning a quoted scalar that begins on line"
A_NODE = "while parsing a node that begins on line"
OPEN_BRACKET = "while parsing a flow sequence that begins on line"
MAX_SIZE = 2**31 - 1


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "config.yaml"


def faults(file: Path, content: str | bytes) -> list[str]:
    """Return the faults of a file of this content, without the name of the file; empty when it is good."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        load(file)
    except ConfigError as error:
        told = error
    else:
        return []
    assert str(told) == "\n".join(told.faults)
    assert told.exit_code == 2
    assert all(fault.startswith(f"{file}:") and fault.isprintable() for fault in told.faults)
    return [fault.removeprefix(str(file)) for fault in told.faults]


def good(file: Path, content: str) -> Config:
    file.write_text(f"url: {URL}\n{content}\n")
    return load(file)


BAD_VALUES = {
    # sizes
    "size-word": (
        "thresholds:\n  send: lots",
        "3: thresholds > send: expected a size such as 64KiB, got 'lots'",
    ),
    "size-second-key": (
        "thresholds:\n  send: 1\n  recv: +1",
        "4: thresholds > recv: expected a size such as 64KiB, got '+1'",
    ),
    "size-unit": (
        "thresholds: {recv: 5TB}",
        "2: thresholds > recv: expected a size such as 64KiB, got '5TB'",
    ),
    "size-ambiguous-unit": (
        "thresholds: {recv: 64K}",
        "2: thresholds > recv: expected a size such as 64KiB, got '64K'",
    ),
    "size-octal": (
        "thresholds: {recv: 017}",
        "2: thresholds > recv: expected a size such as 64KiB, got '017'",
    ),
    "size-hex": (
        "thresholds: {recv: 0x10}",
        "2: thresholds > recv: expected a size such as 64KiB, got '0x10'",
    ),
    "size-underscore": (
        "thresholds: {recv: 1_000}",
        "2: thresholds > recv: expected a size such as 64KiB, got '1_000'",
    ),
    "size-arabic-digit": (
        "thresholds: {recv: ٣}",
        "2: thresholds > recv: expected a size such as 64KiB, got '٣'",
    ),
    "size-bare-fraction": (
        "thresholds: {recv: 1.5}",
        "2: thresholds > recv: expected a size such as 64KiB, got '1.5'",
    ),
    "size-bool": (
        "thresholds: {recv: true}",
        "2: thresholds > recv: expected a size such as 64KiB, got 'true'",
    ),
    "size-empty": ("thresholds:\n  recv:", "3: thresholds > recv: expected a size such as 64KiB, got ''"),
    "size-list": (
        "thresholds: {recv: [1]}",
        "2: thresholds > recv: expected a size such as 64KiB, got ['1']",
    ),
    "size-infinite": (
        "thresholds: {recv: .inf}",
        "2: thresholds > recv: expected a size such as 64KiB, got '.inf'",
    ),
    "size-negative": (
        "thresholds: {recv: -1}",
        "2: thresholds > recv: expected a size from 0 to 2147483647, got '-1'",
    ),
    "size-over": (
        "thresholds: {recv: 2147483648}",
        "2: thresholds > recv: expected a size from 0 to 2147483647, got '2147483648'",
    ),
    "size-over-unit": (
        "thresholds: {recv: 2GiB}",
        "2: thresholds > recv: expected a size from 0 to 2147483647, got '2GiB'",
    ),
    # durations
    "duration-word": ("repeat: often", "2: repeat: expected a duration such as 30s, got 'often'"),
    "duration-unit": ("repeat: 2w", "2: repeat: expected a duration such as 30s, got '2w'"),
    "duration-sexagesimal": ("repeat: 1:30", "2: repeat: expected a duration such as 30s, got '1:30'"),
    "duration-two": ("repeat: 1m30s", "2: repeat: expected a duration such as 30s, got '1m30s'"),
    "duration-nan": ("repeat: .nan", "2: repeat: expected a duration such as 30s, got '.nan'"),
    "duration-exponent": ("repeat: 1e3", "2: repeat: expected a duration such as 30s, got '1e3'"),
    "duration-date": ("repeat: 2026-01-01", "2: repeat: expected a duration such as 30s, got '2026-01-01'"),
    "repeat-short": ("repeat: 999ms", "2: repeat: expected a duration from 1s to 8760h, got '999ms'"),
    "repeat-long": ("repeat: 8761h", "2: repeat: expected a duration from 1s to 8760h, got '8761h'"),
    "timeout-zero": (
        "delivery:\n  timeout: 0",
        "3: delivery > timeout: expected a duration from 1ms to 10m, got '0'",
    ),
    "timeout-long": (
        "delivery:\n  timeout: 601s",
        "3: delivery > timeout: expected a duration from 1ms to 10m, got '601s'",
    ),
    "retry-first-zero": (
        "delivery:\n  retry_first: 0s",
        "3: delivery > retry_first: expected a duration from 1ms to 8760h, got '0s'",
    ),
    "retry-max-below": (
        "delivery:\n  retry_first: 2s\n  retry_max: 1999ms",
        "4: delivery > retry_max: expected at least retry_first, 2s, got '1999ms'",
    ),
    "retry-max-below-first-in-file": (
        "delivery:\n  retry_max: 400ms",
        "3: delivery > retry_max: expected at least retry_first, 0.5s, got '400ms'",
    ),
    "retry-max-default-below": (
        "delivery:\n  workers: 1\n  retry_first: 31s",
        "2: delivery > retry_max: expected at least retry_first, 31s, got 30.0",
    ),
    "interval-short": (
        "sweep:\n  interval: 0.9",
        "3: sweep > interval: expected a duration from 1s to 8760h, got '0.9'",
    ),
    "recheck-short": (
        "sweep:\n  recheck: 99ms",
        "3: sweep > recheck: expected a duration from 100ms to 8760h, got '99ms'",
    ),
    "poll-short": (
        "sweep:\n  poll: 49ms",
        "3: sweep > poll: expected a duration from 50ms to 8760h, got '49ms'",
    ),
    # numbers
    "ratio-over": ("clear_ratio: 1.01", "2: clear_ratio: expected a number from 0 to 1, got '1.01'"),
    "ratio-negative": ("clear_ratio: -0.1", "2: clear_ratio: expected a number from 0 to 1, got '-0.1'"),
    "ratio-percent": ("clear_ratio: 80%", "2: clear_ratio: expected a number such as 0.8, got '80%'"),
    "ratio-nan": ("clear_ratio: .NaN", "2: clear_ratio: expected a number such as 0.8, got '.NaN'"),
    "ratio-bool": ("clear_ratio: yes", "2: clear_ratio: expected a number such as 0.8, got 'yes'"),
    "workers-none": (
        "delivery: {workers: 0}",
        "2: delivery > workers: expected a whole number from 1 to 64, got '0'",
    ),
    "workers-many": (
        "delivery: {workers: 65}",
        "2: delivery > workers: expected a whole number from 1 to 64, got '65'",
    ),
    "workers-fraction": (
        "delivery: {workers: 1.0}",
        "2: delivery > workers: expected a whole number such as 1, got '1.0'",
    ),
    "workers-size": (
        "delivery: {workers: 1KiB}",
        "2: delivery > workers: expected a whole number such as 1, got '1KiB'",
    ),
    "queue-over": (
        "delivery: {queue: 1000001}",
        "2: delivery > queue: expected a whole number from 1 to 1000000, got '1000001'",
    ),
    "rate-negative": (
        "delivery: {rate: -1}",
        "2: delivery > rate: expected a number from 0 to 1000000, got '-1'",
    ),
    "rate-unit": ("delivery: {rate: 5/s}", "2: delivery > rate: expected a number such as 10, got '5/s'"),
    "burst-none": (
        "delivery: {burst: 0}",
        "2: delivery > burst: expected a whole number from 1 to 1000000, got '0'",
    ),
    "hold-negative": ("hold: -1s", "2: hold: expected a duration from 0s to 8760h, got '-1s'"),
    "flapping-above": (
        "flapping: {above: -1}",
        "2: flapping > above: expected a whole number from 0 to 1000000, got '-1'",
    ),
    "flapping-window": (
        "flapping: {window: 999ms}",
        "2: flapping > window: expected a duration from 1s to 24h, got '999ms'",
    ),
    "fold-above": (
        "fold: {above: 1000001}",
        "2: fold > above: expected a whole number from 0 to 1000000, got '1000001'",
    ),
    "fold-window": (
        "fold: {window: 9ms}",
        "2: fold > window: expected a duration from 10ms to 1h, got '9ms'",
    ),
    "fold-word": ("fold: no", "2: fold: expected keys (above, window) with their values, got 'no'"),
    "heartbeat-short": (
        "heartbeat: 999ms",
        "2: heartbeat: expected 0s for none, or at least 1s, got '999ms'",
    ),
    "heartbeat-negative": (
        "heartbeat: -1s",
        "2: heartbeat: expected a duration from 0s to 8760h, got '-1s'",
    ),
    # places
    "listen-host": ("metrics: {listen: localhost}", f"2: metrics > listen: {HOST_PORT}, got 'localhost'"),
    "listen-port": ("metrics: {listen: ':9464'}", f"2: metrics > listen: {HOST_PORT}, got ':9464'"),
    "listen-bare-ipv6": (
        "metrics: {listen: '::1:9464'}",
        f"2: metrics > listen: {HOST_PORT}, got '::1:9464'",
    ),
    "listen-url": ("metrics: {listen: 'http://h:1'}", f"2: metrics > listen: {HOST_PORT}, got 'http://h:1'"),
    "listen-path": (
        "metrics: {listen: 'h:1/metrics'}",
        f"2: metrics > listen: {HOST_PORT}, got 'h:1/metrics'",
    ),
    "listen-user": ("metrics: {listen: 'u@h:1'}", f"2: metrics > listen: {HOST_PORT}, got '***'"),
    "listen-port-zero": ("metrics: {listen: 'h:0'}", f"2: metrics > listen: {PORT}, got 'h:0'"),
    "listen-port-over": ("metrics: {listen: 'h:65536'}", f"2: metrics > listen: {PORT}, got 'h:65536'"),
    "listen-list": ("metrics: {listen: []}", f"2: metrics > listen: {HOST_PORT}, got []"),
    "journal-relative": ("journal: {path: j.db}", f"2: journal > path: {ABSOLUTE}, got 'j.db'"),
    "journal-folder": ("journal: {path: /var/lib/}", f"2: journal > path: {ABSOLUTE}, got '/var/lib/'"),
    "journal-empty": ("journal: {path: }", f"2: journal > path: {ABSOLUTE}, got ''"),
    "journal-nul": ('journal: {path: "/j\\0"}', f"2: journal > path: {ABSOLUTE}, got '/j\\x00'"),
    "journal-age": (
        "journal: {max_age: 0s}",
        "2: journal > max_age: expected a duration from 1s to 8760h, got '0s'",
    ),
    "pages-not-power": (
        "kernel: {perf_pages: 48}",
        "2: kernel > perf_pages: expected a power of two such as 64, got '48'",
    ),
    "pages-over": (
        "kernel: {perf_pages: 8192}",
        "2: kernel > perf_pages: expected a whole number from 1 to 4096, got '8192'",
    ),
    "risk": (
        "kernel: {risk_panic: yes}",
        "2: kernel > risk_panic: expected true or false, got 'yes'",
    ),
    "episodes-under": (
        "kernel: {max_episodes: 15}",
        "2: kernel > max_episodes: expected a whole number from 16 to 1048576, got '15'",
    ),
    "episodes-over": (
        "kernel: {max_episodes: 1048577}",
        "2: kernel > max_episodes: expected a whole number from 16 to 1048576, got '1048577'",
    ),
    # choices
    "hooks": (
        "kernel:\n  hooks: bpf",
        "3: kernel > hooks: expected one of auto, tracepoints, kprobes, none, got 'bpf'",
    ),
    "hooks-case": (
        "kernel:\n  hooks: Auto",
        "3: kernel > hooks: expected one of auto, tracepoints, kprobes, none, got 'Auto'",
    ),
    "types": ("kernel:\n  types: 1", "3: kernel > types: expected one of auto, btf, headers, got '1'"),
    "log": ("log: verbose", "2: log: expected one of debug, info, warning, error, got 'verbose'"),
    "log-list": ("log: [info]", "2: log: expected one of debug, info, warning, error, got ['info']"),
    # events
    "events-word": (
        "events: exceeded",
        "2: events: expected a list such as [exceeded, ongoing], got 'exceeded'",
    ),
    "events-keys": (
        "events: {exceeded: 1}",
        "2: events: expected a list such as [exceeded, ongoing], got {'exceeded': ...}",
    ),
    "events-empty": ("events: []", f"2: events: {EVENT_LIST}, got []"),
    "events-twice": (
        "events: [exceeded, exceeded]",
        f"2: events: {EVENT_LIST}, got ['exceeded', 'exceeded']",
    ),
    "events-no-exceeded": ("events: [ongoing]", f"2: events: {EVENT_LIST}, got ['ongoing']"),
    "events-unknown": (
        "events:\n  - exceeded\n  - over",
        "4: events > item 2: expected one of exceeded, ongoing, cleared, got 'over'",
    ),
    # keys
    "key-near": ("thresholds:\n  recvv: 1", "3: thresholds > recvv: unknown key, did you mean 'recv'?"),
    "key-case": ("REPEAT: 1s", "2: REPEAT: unknown key, did you mean 'repeat'?"),
    "key-dash": (
        "kernel:\n  perf-pages: 1",
        "3: kernel > perf-pages: unknown key, did you mean 'perf_pages'?",
    ),
    "key-far": ("webhook: x", f"2: webhook: unknown key, expected one of {KEYS}"),
    "key-far-below": (
        "sweep:\n  zzz: x",
        "3: sweep > zzz: unknown key, expected one of interval, recheck, poll",
    ),
    "key-number": ("7: x", f"2: 7: unknown key, expected one of {KEYS}"),
    "key-null": ("~: x", f"2: '~': unknown key, expected one of {KEYS}"),
    "key-merge": ("<<: {log: info}", f"2: '<<': unknown key, expected one of {KEYS}"),
    "key-control": ('"a\\nb": x', f"2: 'a\\nb': unknown key, expected one of {KEYS}"),
    "key-list": ("? [log]\n: info", "2: expected a plain word as key"),
    "key-tag": ("!!int 7: x", "2: expected a plain word as key"),
    "key-alias": ("*a : x", "2: expected a plain word as key"),
    "key-surrogate": ('"\\udfff": x', "2: expected a plain word as key"),
    "key-twice": ("log: info\nrepeat: 1s\nlog: info", "4: log: given twice, first on line 2"),
    "key-twice-below": (
        "thresholds:\n  send: 1\n  send: 1",
        "4: thresholds > send: given twice, first on line 3",
    ),
    "section-empty": ("thresholds:", "2: thresholds: expected keys (send, recv) with their values, got ''"),
    "section-word": (
        "sweep: fast",
        "2: sweep: expected keys (interval, recheck, poll) with their values, got 'fast'",
    ),
    "section-list": (
        "thresholds:\n- send: 1",
        "2: thresholds: expected keys (send, recv) with their values, got [{'send': ...}]",
    ),
    # what YAML can do beyond plain values
    "tag-python": ("log: !!python/object/apply:os.system [id]", f"2: log: {TAG}"),
    "tag-plain": ("repeat: !!int 7", f"2: repeat: {TAG}"),
    "tag-section": ("kernel: !x {hooks: auto}", f"2: kernel: {TAG}"),
    "tag-handle": ("log: !a!b c", f"2: not valid YAML: found undefined tag handle ({A_NODE} 2)"),
    "alias-undefined": ("log: *log", "2: log: expected the value itself, got an alias (*name)"),
    "alias-of-itself": (
        "kernel: &k\n  hooks: *k",
        "3: kernel > hooks: expected the value itself, got an alias (*name)",
    ),
    "surrogate": ('log: "\\ud800"', "2: log: expected Unicode text, got half of a surrogate pair"),
    "documents": ("---\nlog: loud", "2: expected one document, got a second one"),
    "syntax": (
        "log: info\nrepeat: 1s: 2",
        "3: not valid YAML: mapping values are not allowed here",
    ),
    "syntax-tab": (
        "sweep:\n\tpoll: 1s",
        "3: not valid YAML: found character '\\t' that cannot start any token",
    ),
    "syntax-open-quote": (
        'repeat: 1s\nlog: "info\n\n',
        f"3: not valid YAML: found unexpected end of stream ({OPEN_QUOTE} 3)",
    ),
    "syntax-open-bracket": (
        "events: [exceeded",
        f"2: not valid YAML: expected ',' or ']', but got '<stream end>' ({OPEN_BRACKET} 2)",
    ),
    "character-too-large": ('log: "\\UFFFFFFFF"', "2: not valid YAML: a number too large"),
    "control-character": ("log: info\nrepeat: \x01", "3: expected printable text, got '\\x01'"),
    "deep": ("events:\n  " + "[" * 30_000, "3: not valid YAML: more than 8 levels deep"),
    "long-value": (
        "log: " + "x" * 999,
        f"2: log: expected one of debug, info, warning, error, got '{'x' * 57}...'",
    ),
}


@pytest.mark.parametrize(("content", "fault"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_bad_value(file: Path, content: str, fault: str) -> None:
    assert faults(file, f"url: {URL}\n{content}") == [f":{fault}"]


HIDDEN = "'http://***'"
"""More than the scheme may be secret."""

BAD_URLS = {
    "empty": ("", WEB, "''"),
    "scheme": ("ftp://host/", WEB, "'ftp://host/'"),
    "no-scheme": ("host/alert", WEB, "'host/alert'"),
    "no-host": ("http:///alert", WEB, "'http:///alert'"),
    "one-slash": ("http:/host", WEB, "'http:/host'"),
    "host-characters": ("http://a*b/", WEB, HIDDEN),
    "host-empty-label": ("http://a..b/", WEB, "'http://a..b/'"),
    "host-bracket": ("'http://[::1/'", WEB, HIDDEN),
    "host-bracket-word": ("'http://[word]/'", WEB, HIDDEN),
    "host-bad-ipv6": ("'http://[1:2]:80/'", WEB, "'http://[1:2]:80/'"),
    "port-zero": ("http://host:0/", PORT, "'http://host:0/'"),
    "port-over": ("http://host:65536/", PORT, "'http://host:65536/'"),
    "port-word": ("http://host:http/", PORT, HIDDEN),
    "fragment": ("http://host/#top", "expected a url without a fragment (#...)", HIDDEN),
    "space": ("http://host/a b", SPACES, HIDDEN),
    "newline": ('"http://host/\\nX: y"', SPACES, HIDDEN),
    "backslash": ("http://host\\@other/", SPACES, HIDDEN),
    "zero-width": ('"http://ho\\u200bst/"', SPACES, HIDDEN),
    "long": (
        "http://host/" + "x" * 2000,
        "expected a url of at most 2000 characters",
        f"'http://host/{'x' * 45}...'",
    ),
}


@pytest.mark.parametrize(("url", "expected", "got"), BAD_URLS.values(), ids=BAD_URLS.keys())
def test_bad_url(file: Path, url: str, expected: str, got: str) -> None:
    assert faults(file, f"log: info\nurl: {url}") == [f":2: url: {expected}, got {got}"]


@pytest.mark.parametrize(
    "content",
    [
        "url: ftp://user:secret@host/",
        "- url: http://host/?secret",
        "[{token: secret}]",
        "url: {secret: x}",
        "url: {env: secret}",
        "url: {file: secret}",
        "url: {file: /secret}",
        "url: {env: x, secret: x}",
        "url: http://user:secret@host:99999/",
        "url: http://user:se#secret@host/",
        "url: http://user:se/secret@host/",
        "url: http://user:se?secret@host/",
        "url: http://user:se@secret@host:0/",
        "url: user:secret@host",
        "url: http://user:secret",
        "url: http://user:secret #@host",
        "url: http://user:secret%40host/",
        "url: http://host:0/?token=secret",
        'url: "http://user:\\nsecret@host/"',
        'url: "http://user:secret@host/" x',
        "url: [http://user:secret@host/]",
        "url: {http://user:secret@host/: 1}",
        "url: !http://user:secret@host/ x",
        "uri: http://user:secret@host/",
        f"url: {URL}\nlog: http://user:secret@host/",
        f"url: {URL}\nevents: [http://user:secret@host/]",
        f"url: {URL}\nkernel: [http://user:secret@host/]",
        f"url: {URL}\nhttp://user:secret@host/: 1",
        f"url: {URL}\nhttp://user:secret@host/: 1\nhttp://user:secret@host/: 1",
        "http://user:secret@host/",
        "url: http://user:secret@host/\nurl: http://user:secret@host/",
        "url: http://user:secret@host/\nlog: loud",
    ],
)
def test_no_secret_in_a_fault(file: Path, content: str) -> None:
    told = faults(file, content)
    assert told
    assert "secret" not in "".join(told)


def test_no_secret_where_settings_are_shown() -> None:
    assert "secret" not in repr(Config(url="http://user:secret@host/"))
    with pytest.raises(ValidationError) as caught:
        Config(url="ftp://user:secret@host/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://host",
        "HTTP://Host.example.:65535/a/b?c=d&e",
        "http://user:pass@host:1/",
        "http://user:p%40ss@10.0.0.1",
        "http://a_b-c/",
        "http://[::1]:8080/alert",
        "http://[fe80::1%25eth0]/",
        "http://host/ä?ö=%20",
        "http://xn--bcher-kva.example/",
    ],
)
def test_good_url(file: Path, url: str) -> None:
    file.write_text(f"url: '{url}'")
    assert load(file).url == url
    assert requests.Request("GET", url).prepare().url


@settings(deadline=None)
@given(st.text() | st.from_regex(r"https?://[\[\]a-z0-9.:%@*_-]{0,20}(/[ -~]*)?", fullmatch=True))
def test_the_client_takes_every_url_that_is_taken_here(url: str) -> None:
    try:
        Config(url=url)
    except ValidationError:
        return
    assert requests.Request("GET", url).prepare().url


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
        ":3: thresholds > send: expected a size such as 64KiB, got 'lots'",
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
        (Path("/dev/zero"), "expected at most 65536 bytes, got more"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.faults == [f"{path}: {reason}"]


def test_defaults(file: Path) -> None:
    config = good(file, "")
    assert config == Config(
        url=URL,
        thresholds=Thresholds(send=1024 * 1024, recv=1024 * 1024),
        clear_ratio=0.8,
        repeat=60.0,
        events=("exceeded", "ongoing", "cleared"),
        http=HttpOptions(),
        hold=0.0,
        flapping=FlappingSettings(above=5, window=60.0),
        fold=FoldSettings(above=0, window=1.0),
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


YAML_SHARDS = [
    *(
        "url: ",
        "thresholds: ",
        "send: ",
        "events: ",
        "kernel:",
        "log: ",
        "? ",
        ": ",
        "- ",
        "  ",
        "\n",
        "\n  ",
        "\t",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ",",
        '"',
        "'",
        "&a ",
        "*a",
        "!",
        "!!int ",
        "!<",
        "|",
        ">-",
        "#",
        "%YAML 1.1",
        "%TAG ! x:y\n",
    ),
    *(
        "---",
        "...",
        "@",
        "`",
        "\\",
        "\\x",
        "\\ud800",
        "\\UFFFFFFFF",
        "<<",
        "~",
        "null",
        "1",
        ".inf",
        "0o7",
        "\x00",
        "\x85",
    ),
    *("é", "\u2028", "\ufeff", "\U0001f600", URL, "http://user:secret@"),
]


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(YAML_SHARDS)).map("".join))
@example("%YAML " + "9" * 5000 + ".0\n---\n")
@example("!%GG x")
@example("[" * 60_000)
@example('"\\ud800": 1')
def test_any_text_is_settings_or_faults(file: Path, content: str) -> None:
    faults(file, content.encode("utf-8", "surrogatepass"))


@settings(deadline=None)
@given(st.binary())
@example(b"\xff\xfe\x00")
@example(b"\xef\xbb\xbf")
def test_any_bytes_are_settings_or_faults(file: Path, content: bytes) -> None:
    faults(file, content)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(Config.model_fields)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(Config.model_fields)), inner),
        max_leaves=20,
    ),
)
def test_any_value_is_settings_or_faults(file: Path, key: str, value: object) -> None:
    faults(file, f"{key}: {value!r}".encode("utf-8", "surrogatepass"))


def test_the_shipped_file_shows_the_defaults_and_all_events(file: Path) -> None:
    shipped = load(SHIPPED)
    assert shipped.url == URL
    assert shipped.events == EVENTS
    assert shipped.model_copy(update={"events": good(file, "").events}) == good(file, "")


def keys_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    keys: set[tuple[str, ...]] = set()
    for name, field in model.model_fields.items():
        keys.add((*above, name))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= keys_of(field.annotation, (*above, name))
    return keys


def test_the_shipped_file_has_every_key() -> None:
    written = {where for where in yaml_source.read(SHIPPED).lines if where and isinstance(where[-1], str)}
    assert written == keys_of(Config)
    assert ("kernel", "perf_pages") in written


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
    monkeypatch.setenv("SECOND_URL", URL)
    file.write_text(examples.replace("/etc/sockbpf/", f"{tmp_path}/"))
    config = load(file)
    assert {destination.type for destination in config.destinations} == set(MODELS)
    assert [destination.name for destination in config.destinations[:2]] == ["http", "second"]
    every = {name for model in MODELS.values() for name in model.model_fields}
    assert all(re.search(rf"#.*\b{name}\b|\b{name}:", text) for name in every)
