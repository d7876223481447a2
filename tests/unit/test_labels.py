# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The labels of a host: as the settings may have them, and as one text that says them whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.record.labels import MOST_LABELS, is_label, label_text, labels_of, text_of
from sockbpf.settings.at_start import taken
from sockbpf.settings.config import load
from tests.unit.written_settings import URL, faults

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,31}", fullmatch=True)
VALUES = st.text(min_size=1, max_size=64).filter(lambda value: is_label("a", value))
HARD = st.sampled_from(["%3B", ";", "a;b=c", "%25", "=", "%"])
LABELS = st.dictionaries(NAMES, VALUES | HARD, max_size=MOST_LABELS)


@given(LABELS)
def test_a_text_says_the_labels(labels: dict[str, str]) -> None:
    text = text_of(labels)
    assert labels_of(text) == labels
    assert text_of(dict(reversed(labels.items()))) == text
    assert not labels or text.split(";") == [label_text(name, labels[name]) for name in sorted(labels)]


@given(st.text() | st.text("abc=;%3B25\n \0"))
def test_whatever_is_said_has_few_labels_and_says_them_again(text: str) -> None:
    labels = labels_of(text)
    assert len(labels) <= MOST_LABELS
    assert all(is_label(*each) for each in labels.items())
    assert labels_of(text_of(labels)) == labels


def test_the_settings_have_them(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"url: {URL}\nlabels: {{dc: fra1, role: 'a;b'}}\n")
    config = load(file)
    assert config.labels == {"dc": "fra1", "role": "a;b"}
    file.write_text(f"url: {URL}\n")
    assert taken(config, load(file))[0].labels == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels: {a-b: x}", "2: labels > a-b: expected names of labels, of at most 32 letters"),
        ("labels: {a: 'x\ty'}", "2: labels > a: expected the value of a label, one line"),
        ("labels: {a: ''}", "2: labels > a: expected the value of a label, one line"),
        (f"labels: {{a: {'x' * 65}}}", "2: labels > a: expected the value of a label, one line"),
        (f"labels: {{{', '.join(f'a{n}: x' for n in range(17))}}}", "2: labels: expected at most 16 labels"),
        ("labels: db", "2: labels: expected"),
    ],
)
def test_others_are_faults(tmp_path: Path, text: str, expected: str) -> None:
    said = faults(tmp_path / "config.yaml", f"url: {URL}\n{text}")
    assert any(f":{expected}" in each for each in said), said
