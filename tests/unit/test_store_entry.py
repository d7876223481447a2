"""What is kept of an alert or of what was posted: checked, bounded, found again by its fields."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.store.entry import EntryError, alert_entry, packed_ip, posted_entry, text_entries
from tests.store.serving import told

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.ip_addresses())
def test_addresses_sort_and_ipv4_lies_in_ipv6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    packed = packed_ip(str(address))
    assert packed == (address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed)
    assert packed_ip(f"::ffff:{address}" if address.version == 4 else str(address)) == packed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4.",
        "256.1.1.1",
        "::g",
        "1.2.3.4\0",
        "fe80::1%",
        "fe80::1%\0",
        "\ud800",
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert packed_ip(text) is None


@given(st.dictionaries(st.text(), JSON, max_size=7))
def test_an_object_is_kept_as_it_is_whatever_it_says(value: dict[str, object]) -> None:
    entry = posted_entry(value, 1_795_000_000.0)
    assert json.loads(entry.body) == value
    assert list(json.loads(entry.body)) == list(value)
    assert entry.body.isascii()
    assert all("\0" not in text and len(text) <= 256 for pair in entry.pairs for text in pair)


@given(st.text())
def test_a_text_is_kept_or_is_a_table_with_every_cell(text: str) -> None:
    entries = text_entries(text)
    if "text" not in entries[0] or len(entries) > 1:
        assert sum(len(each) for each in entries) >= 2
    else:
        assert entries == [{"text": text}]


def test_the_key_is_the_alert_and_nothing_else() -> None:
    key = alert_entry(told(1)).key
    assert alert_entry(told(1, size=2_000_000)).key == key
    others = ({"host": "web2"}, {"id": "other"}, {"event": "cleared"}, {"seq": 2})
    assert len({key, *(alert_entry(told(1, **other)).key for other in others)}) == 5


def test_no_two_alerts_have_one_key_by_where_a_field_ends() -> None:
    assert alert_entry(told(1, host="a", id="b\0c")).key != alert_entry(told(1, host="a\0b", id="c")).key
    assert alert_entry(told(1, host='a", "b', id="c")).key != alert_entry(told(1, host="a", id='b", "c')).key


@pytest.mark.parametrize(
    "name", ["timestamp", "event", "host", "protocol", "type", "id", "seq", "size", "threshold"]
)
def test_what_an_alert_must_have(name: str) -> None:
    alert = told(1)
    del alert[name]
    with pytest.raises(EntryError, match=f"^{name}: expected"):
        alert_entry(alert)
