# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A choice, a list, a key or a text that is no good YAML is told with its line, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.written_settings import KEYS, URL, faults

TAG = "expected a value without a tag, got one (!...): if it is the value itself, quote it"
EVENT_LIST = "expected a list with exceeded in it and no event twice"
OPEN_QUOTE = "while scanning a quoted scalar that begins on line"
A_NODE = "while parsing a node that begins on line"
OPEN_BRACKET = "while parsing a flow sequence that begins on line"


BAD_VALUES = {
    # choices
    "hooks": (
        "kernel:\n  hooks: bpf",
        "3: kernel > hooks: expected one of auto, tracepoints, kprobes, none, got 'bpf'",
    ),
    "hooks-case": (
        "kernel:\n  hooks: Auto",
        "3: kernel > hooks: expected one of auto, tracepoints, kprobes, none, got 'Auto', did you mean auto?",
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
        "4: events > item 2: expected one of exceeded, ongoing, cleared, started, stopped, got 'over'",
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
