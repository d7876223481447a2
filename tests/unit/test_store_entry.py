# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept of an alert or of anything posted: never less than came, never what no database takes."""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from sockbpf.counters import NAMES as COUNTERS
from sockbpf.store.data.digest import is_sound
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import IN_BODY, MOST_PAIRS, Entry, alert_entry, posted_entry, spelled_in_alert
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.posted_text import text_entries
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY, EPISODE, HOST
from sockbpf.store.data.sound import is_sound_entry
from sockbpf.store.data.values import MOST_INTEGER, MOST_TEXT, EntryError, packed_ip, searchable

NOW_S = 1_795_343_123.5
TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "192.0.2.1",
    "local_port": "443", "remote_ip": "::1", "remote_port": "1024", "type": "RECV", "size": "2", "threshold": "1",
    "peak": "3", "duration": "0.5", "id": "0a", "seq": "7", "host": "web1", "pid": "1", "comm": "x", "mode": "ebpf",
}  # fmt: skip

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # halves of surrogates too: JSON has them
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.integers(0, 10**400)
JSON = st.recursive(SCALAR, lambda of: st.lists(of) | st.dictionaries(ANY_TEXT, of), max_leaves=20)
NAMES = ANY_TEXT | st.sampled_from(sorted(IN_BODY))
OBJECT = st.dictionaries(NAMES, JSON | st.sampled_from(list(TOLD.values())))


def fits_every_database(entry: Entry) -> bool:
    texts = [value for value in entry.columns.values() if isinstance(value, str)]
    texts += [text for pair in entry.pairs for text in pair]
    texts += [value for value in (entry.episode or {}).values() if isinstance(value, str)]
    numbers = [value for value in entry.columns.values() if isinstance(value, int)]
    return (
        all("\0" not in text and len(text) <= MOST_TEXT and text.encode() for text in texts if text)
        and all(0 <= number <= MOST_INTEGER for number in numbers)
        and entry.body.isascii()
        and "\0" not in entry.body
        and len(entry.pairs) <= MOST_PAIRS
        and 0 <= entry.at_s < 253_402_300_800
    )


@given(OBJECT)
def test_any_json_object_is_kept_as_it_is_or_refused(value: dict[str, Any]) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(EntryError, match="NaN"):
            posted_entry(value, NOW_S)
        return
    entry = posted_entry(value, NOW_S)
    assert json.dumps(json.loads(entry.body)) == json.dumps(value)
    assert entry.key is None
    assert fits_every_database(entry)


@given(
    st.dictionaries(NAMES, ANY_TEXT | st.sampled_from(list(TOLD.values()))),
    st.sets(st.sampled_from(sorted(TOLD))),
)
def test_any_parameters_are_an_alert_or_refused_by_name_and_never_repeated(
    odd: dict[str, str], without: set[str]
) -> None:
    told = {name: value for name, value in TOLD.items() if name not in without} | odd
    entry: Entry | None
    try:
        entry = alert_entry(told)
    except EntryError as error:
        entry, fault = None, str(error)
    if entry is None:
        assert fault.partition(": expected")[0] in IN_BODY
        # Every fault of a time gives this one as its example.
        repeated = fault.replace(TOLD["timestamp"], "")
        assert not [value for value in odd.values() if len(value) > 9 and value in repeated]
        return
    assert fits_every_database(entry)
    body = json.loads(entry.body)
    assert body.keys() == told.keys()
    assert all(str(body[name]) == value for name, value in told.items() if name not in IN_BODY)


def test_duplicates_are_told_by_host_id_event_and_seq_alone() -> None:
    key = alert_entry(TOLD).key
    for name, value in {
        "timestamp": "5",
        "size": "9",
        "peak": "9",
        "comm": "y",
        "pid": "2",
        "more": "z",
    }.items():
        assert alert_entry(TOLD | {name: value}).key == key
    of_anybody = alert_entry(TOLD, is_trusted=False)
    assert of_anybody.key == alert_entry(TOLD | {"size": "9"}, is_trusted=False).key != key
    for name, value in {"host": "web2", "id": "0b", "event": "cleared", "seq": "8"}.items():
        assert alert_entry(TOLD | {name: value}).key != key


@given(st.tuples(ANY_TEXT, ANY_TEXT), st.tuples(ANY_TEXT, ANY_TEXT))
def test_no_two_identities_are_taken_for_one(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = [alert_entry(TOLD | {"host": f"h{host}", "id": f"i{id_}"}).key for host, id_ in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_a_name_that_ends_in_a_nul_takes_nobodys_place() -> None:
    one, other = TOLD | {"host": "a\0b", "id": "c"}, TOLD | {"host": "a", "id": "b\0c"}
    assert alert_entry(one).key != alert_entry(other).key


ADDRESS = st.ip_addresses().map(str)


def as_v6(text: str) -> int:
    address = ipaddress.ip_address(text)
    return int(address) + (0xFFFF << 32 if address.version == 4 else 0)


@given(ADDRESS, ADDRESS)
def test_packed_addresses_sort_as_the_addresses_do(one: str, other: str) -> None:
    packed_one, packed_other = packed_ip(one), packed_ip(other)
    assert packed_one is not None
    assert packed_other is not None
    assert len(packed_one) == 16
    assert (packed_one < packed_other) == (as_v6(one) < as_v6(other))
    assert packed_ip(one.upper()) == packed_one


@given(st.ip_addresses(v=4))
def test_an_address_is_the_same_however_it_is_mapped(address: ipaddress.IPv4Address) -> None:
    assert (
        packed_ip(str(address))
        == packed_ip(f"::ffff:{address}")
        == packed_ip(f"::FFFF:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}")
    )


@given(ANY_TEXT)
def test_what_is_no_address_is_none(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        plain = text.partition("%")[0]
        assert packed_ip(text) is None or ":" in plain
    else:
        assert packed_ip(text) is not None or "%" in text


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4%eth0", "1.2.3.4 ", "::1%", "::1%<b>", "::1%a\0", "1::2::3", "\0"]
)
def test_these_are_no_addresses(text: str) -> None:
    assert packed_ip(text) is None


def test_what_is_no_address_is_not_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(50):
            assert (
                posted_entry({"local_ip": f"{number}" + "x" * 10**6}, NOW_S).columns["local_packed"] is None
            )
        assert tracemalloc.get_traced_memory()[0] < 5 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["-0", "-0.0", "5e-324", "0.1", "253402300799.9999"])
def test_a_time_is_read_as_it_was_written(text: str, tmp_path: Path) -> None:
    """Else the row would be taken for one that was altered."""
    engine = open_engine(f"sqlite:///{tmp_path / 'alerts.sqlite'}", connections=1)
    migrate(engine)
    told = alert_entry(TOLD | {"timestamp": text})
    beats = alert_entry(
        {"event": "heartbeat", "host": "web1", "timestamp": text, "version": "1", "repeat": text}
    )
    with engine.begin() as connection:
        assert write(connection, [told, beats]) == [True, True]
        entries = connection.execute(select(ENTRY)).mappings().all()
        assert [is_sound_entry(row) for row in entries] == [True, True]
        for table in (EPISODE, HOST):
            assert [is_sound(row, table) for row in connection.execute(select(table)).mappings()] == [True]
    engine.dispose()


CELL = st.text() if sys.version_info >= (3, 11) else st.text(st.characters(exclude_characters="\0"))
"""Before Python 3.11 its csv writes no NUL."""

CELLS = st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=4)


@given(st.text())
def test_text_loses_no_character(text: str) -> None:
    loses_nothing(text)


@given(CELLS, st.sampled_from(["\n", "\r\n"]))
def test_a_table_loses_no_cell(rows: list[list[str]], end: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    loses_nothing(out.getvalue())


def loses_nothing(text: str) -> None:
    objects = text_entries(text)
    if objects == [{"text": text}]:
        return
    header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    assert len(header) > 1
    assert [list(each) for each in objects] == [[name.strip() for name in header]] * len(rows)
    assert [list(each.values()) for each in objects] == rows


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("a,b\n1,2\n3,4", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a, b\r\n1, 2\r\n", [{"a": "1", "b": " 2"}]),
        ('a,b\n"1,\n2","""3"""\n\n', [{"a": "1,\n2", "b": '"3"'}]),
        ("a,b\n", None), ("a\n1\n", None), ("a,a\n1,2\n", None), ("a,b\n1\n", None), ('a,b\n"1,2\n', None),
        ("a, a\n1,2\n", None), ("", None), ("a,b\n1,2,3\n", None),
    ],
)  # fmt: skip
def test_a_table_is_one_with_a_header_and_rows_as_wide(
    text: str, objects: list[dict[str, str]] | None
) -> None:
    assert text_entries(text) == (objects or [{"text": text}])


@given(ANY_TEXT)
def test_what_is_searched_for_fits_every_database(text: str) -> None:
    found = searchable(text)
    assert "\0" not in found
    assert len(found) == min(len(text), MOST_TEXT)
    assert found.encode().decode() == found
    assert searchable(found) == found


SPELLED = sorted(IN_BODY - {"timestamp", "duration"})


@given(
    st.sampled_from(SPELLED),
    ANY_TEXT | st.sampled_from(list(TOLD.values())),
    st.dictionaries(ANY_TEXT, ANY_TEXT),
)
def test_a_value_is_found_in_the_body_of_an_alert_just_if_the_alert_says_it(
    name: str, value: str, more: dict[str, str]
) -> None:
    """Whatever else the alert says, nothing in it looks like a name with its value."""
    told = TOLD | {key: text for key, text in more.items() if key not in IN_BODY}
    body = alert_entry(told).body
    is_found = any(text in body for text in spelled_in_alert(name, value))
    says = told.get(name)
    is_same = says is not None and (
        says == value
        or (says.isdecimal() and value.isascii() and value.isdecimal() and int(says) == int(value))
    )
    assert is_found == is_same or (name in {"local_port", "seq", "size"} and len(value) > 19)


def test_a_heartbeat_takes_little_room() -> None:
    """Fifty counters are in its body alone: pairs of them would take most of the room of a database of many hosts."""
    told = {"event": "heartbeat", "timestamp": "1795343123.1", "host": "web1", "seq": "7", "version": "1"}
    entry = alert_entry(told | dict.fromkeys(COUNTERS, "12"))
    assert {name for name, _ in entry.pairs} == {"version"}
    assert all(json.loads(entry.body)[name] == "12" for name in COUNTERS)
