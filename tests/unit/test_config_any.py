# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Any text, bytes or value are settings or faults."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sockbpf.settings.config import (
    Config,
)
from tests.unit.written_settings import URL, faults

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
