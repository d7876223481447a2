# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A size, duration, number or address that is no good is told with its line, key, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.written_settings import PORT, URL, faults

HOST_PORT = "expected a host and a port such as 127.0.0.1:9464 or [::1]:9464"
ABSOLUTE = "expected the absolute path of a file"


BAD_VALUES = {
    # sizes
    "size-word": (
        "thresholds:\n  send: lots",
        "3: thresholds > send: expected a size such as 64KiB or 80%, got 'lots'",
    ),
    "size-second-key": (
        "thresholds:\n  send: 1\n  recv: +1",
        "4: thresholds > recv: expected a size such as 64KiB or 80%, got '+1'",
    ),
    "size-unit": (
        "thresholds: {recv: 5TB}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '5TB'",
    ),
    "size-ambiguous-unit": (
        "thresholds: {recv: 64K}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '64K'",
    ),
    "size-octal": (
        "thresholds: {recv: 017}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '017'",
    ),
    "size-hex": (
        "thresholds: {recv: 0x10}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '0x10'",
    ),
    "size-underscore": (
        "thresholds: {recv: 1_000}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '1_000'",
    ),
    "size-arabic-digit": (
        "thresholds: {recv: ٣}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '٣'",
    ),
    "size-bare-fraction": (
        "thresholds: {recv: 1.5}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '1.5'",
    ),
    "size-bool": (
        "thresholds: {recv: true}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got 'true'",
    ),
    "size-empty": (
        "thresholds:\n  recv:",
        "3: thresholds > recv: expected a size such as 64KiB or 80%, got ''",
    ),
    "size-list": (
        "thresholds: {recv: [1]}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got ['1']",
    ),
    "size-infinite": (
        "thresholds: {recv: .inf}",
        "2: thresholds > recv: expected a size such as 64KiB or 80%, got '.inf'",
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
    "listeners-backlog": (
        "listeners: {backlog: -1}",
        "2: listeners > backlog: expected a number of connections from 0 to 2147483647, got '-1'",
    ),
    "listeners-share": (
        "listeners: {backlog: 101%}",
        "2: listeners > backlog: expected a share from 1% to 100%, got '101%'",
    ),
    "listeners-hold": (
        "listeners: {hold: soon}",
        "2: listeners > hold: expected a duration such as 30s, got 'soon'",
    ),
    "stalled-after": (
        "stalled: {after: 500ms}",
        "2: stalled > after: expected 0s for none, or at least 1s, got '500ms'",
    ),
    "stalled-above": (
        "stalled: {above: -1}",
        "2: stalled > above: expected a size from 0 to 2147483647, got '-1'",
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
    "socket-relative": ("status: {socket: s}", f"2: status > socket: {ABSOLUTE}, got 's'"),
    "socket-long": (
        f"status: {{socket: /{'s' * 107}}}",
        f"2: status > socket: expected a path of at most 107 bytes, as a socket can have, got '/{'s' * 56}...'",
    ),
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
}


@pytest.mark.parametrize(("content", "fault"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_bad_value(file: Path, content: str, fault: str) -> None:
    assert faults(file, f"url: {URL}\n{content}") == [f":{fault}"]
