# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What each key of `sockbpf top` changes on the screen."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console, Group

from sockbpf.judge.top_order import COLUMNS, GROUPS, WORST
from sockbpf.record.event import Protocol
from sockbpf.record.moment import Moment
from sockbpf.record.socket_row import SocketRow, Whose
from sockbpf.screen.state import NAMED, State
from sockbpf.settings.typed_filter import MOST
from sockbpf.view.columns import COLUMNS as TABLE
from sockbpf.view.top_frame import NOT_OF_TOP, SIZES
from tests.unit.socket_rows import MIB, a_row

NGINX = Whose(17, "nginx", "www-data", "/system.slice/nginx.service")
REDIS = Whose(18, "redis-server", "redis", "/system.slice/redis.service")
ROWS = [
    a_row(recv=2 * MIB, local_port=443, remote_port=1, whose=NGINX),
    a_row(send=900_000, local_port=443, remote_port=2, whose=NGINX),
    a_row(recv=70_000, local_port=6379, remote_port=3, whose=REDIS),
    a_row(recv=5, protocol=Protocol.UDP, local_port=53, remote_port=4),
]
NAMES = {" ": "space", "/": "slash", "?": "question_mark", ":": "colon"}


def a_state(rows: list[SocketRow] = ROWS, text: str = "") -> State:
    state = State(text)
    state.take(Moment(1.0, 1_700_000_000.0, rows))
    return state


def press(state: State, *keys: str) -> None:
    """Press these keys: characters by themselves, others by their names."""
    for key in keys:
        assert state.press(NAMES.get(key, key), key if len(key) == 1 else "")


def screen(state: State, width: int = 120, height: int = 23) -> str:
    out = Console(width=width, height=height, file=io.StringIO(), highlight=False)
    with out.capture() as captured:
        out.print(Group(*state.parts(width, height)))
    return captured.get()


def ports(state: State) -> list[int]:
    return [track.row.socket.remote_port for track in state.shown()]


def test_a_filter_counts_as_it_is_typed() -> None:
    state = a_state()
    press(state, "/", *"port:443")
    assert state.last_line() == "filter: port:443_"
    assert ports(state) == [1, 2]
    press(state, *"x")
    assert "expected a port" in screen(state)
    press(state, "backspace", "enter", "down")
    assert ports(state) == [1, 2]
    press(state, "/", "escape")
    assert ports(state) == [1, 2, 3, 4]


def test_a_key_that_is_typed_into_the_filter_does_nothing_else() -> None:
    state = a_state()
    press(state, "/", *"q p?sg/")
    assert (state.text, state.is_paused, state.page, state.groups.by) == ("q p?sg/", False, "list", GROUPS[0])


def test_q_ends_it() -> None:
    assert not a_state().press("q", "q")


def test_each_column_sorts() -> None:
    state = a_state()
    orders = {}
    for _ in COLUMNS:
        orders[state.order.column] = ports(state)
        press(state, "s")
    assert state.order.column == COLUMNS[0]
    assert orders["recv"][:2] == [1, 3]
    assert orders["send"][0] == 2
    assert orders["local"] == [4, 1, 2, 3]
    assert orders["process"] == orders["unit"] == [1, 2, 3, 4]  # the last one is not known


def test_every_column_of_the_table_sorts() -> None:
    shown = {column.heading for column in TABLE if column.heading not in NOT_OF_TOP}
    assert shown | {column.heading for column in SIZES} | {"still"} == set(COLUMNS) - {WORST}


def test_the_page_of_keys_fits_and_names_every_column() -> None:
    state = a_state()
    press(state, "?")
    text = screen(state, 80)
    assert "…" not in text
    assert all(re.search(rf"\b{column}\b", text) for column in (*COLUMNS, *GROUPS))


def test_each_group_adds_up() -> None:
    state = a_state()
    texts = {}
    for _ in GROUPS:
        texts[state.groups.by] = screen(state)
        press(state, "g")
    assert "       2       1   2097k    900k       0  nginx" in texts["process"]
    assert "redis.service" in texts["unit"]
    assert "tcp 6379" in texts["service"]
    assert "198.51.100.7" in texts["peer"]


def test_a_pause_keeps_what_is_shown() -> None:
    state = a_state()
    press(state, "p")
    state.take(Moment(2.0, 1_700_000_001.0, ROWS[:1]))
    assert ports(state) == [1, 2, 3, 4]
    assert "PAUSED" in screen(state)
    press(state, " ")
    state.take(Moment(3.0, 1_700_000_002.0, ROWS[:1]))
    assert [track.has_ended for track in state.shown()] == [False, True, True, True]


def test_the_chosen_socket_stays_chosen_when_rows_move() -> None:
    state = a_state()
    press(state, "down", "down")
    assert state.chosen is not None
    assert state.chosen.row.socket == ROWS[1].socket
    moved = a_row(recv=3 * MIB, local_port=6379, remote_port=3, whose=REDIS)
    state.take(Moment(2.0, 1_700_000_001.0, [*ROWS[:2], moved]))
    press(state, "down")
    assert ports(state).index(2) + 1 == ports(state).index(state.chosen.row.socket.remote_port)


def test_enter_shows_one_socket_with_both_queues_and_its_history() -> None:
    state = a_state()
    press(state, "enter")
    text = screen(state)
    assert "tcp 192.0.2.1:443 to 198.51.100.7:1  nginx/17" in text
    assert "RECV size" in text
    assert "50%  2097152 of 4194304, threshold 1048576" in text
    assert "SEND" in text
    assert "at most 2097152" in text
    press(state, "enter")
    assert state.page == "list"


@pytest.mark.parametrize(("width", "height"), [(80, 23), (200, 49), (30, 5)])
@pytest.mark.parametrize("keys", ["", "?", "s", "g", "p"])
def test_every_page_fits(width: int, height: int, keys: str) -> None:
    state = a_state()
    press(state, *keys)
    lines = screen(state, width, height).splitlines()
    assert len(lines) <= height
    assert all(line.isprintable() for line in lines)


def test_whose_all_sockets_are_is_asked_for_only_where_that_counts() -> None:
    state = a_state()
    assert state.wanted.named == NAMED
    press(state, "g")
    assert state.wanted.named is None
    assert a_state(text="port:443").wanted.named == NAMED
    assert a_state(text="unit:nginx").wanted.named is None
    assert a_state(text="nginx").wanted.named is None


def test_all_sockets_are_asked_for_only_where_that_counts() -> None:
    assert not a_state().wanted.is_all
    for key in ("g", "s"):
        state = a_state()
        press(state, key)
        assert state.wanted.is_all
    assert a_state(text="port:443").wanted.is_all
    assert not a_state(text="port:").wanted.is_all


def test_enter_shows_the_sockets_of_a_group_and_esc_all_groups_again() -> None:
    state = a_state()
    press(state, "g", "down", "down", "enter")
    assert "only process redis-server" in screen(state)
    assert ports(state) == [3]
    press(state, "escape")
    assert "grouped by process" in screen(state)
    assert "redis-server" in screen(state)


def test_what_is_gone_stays_in_detail_as_it_was() -> None:
    state = a_state()
    press(state, "enter")
    for second in range(2, 20):
        state.take(Moment(float(second), 1_700_000_000.0 + second, ROWS[1:]))
    assert "ended 18s ago" in screen(state)
    assert "2097152 of 4194304" in screen(state)
    press(state, "escape", "down")
    assert state.chosen is not None
    assert state.chosen.row.socket == ROWS[1].socket


def test_far_steps_end_at_the_first_and_the_last_row() -> None:
    state = a_state()
    press(state, "end", "pagedown", "j")
    assert state.chosen is not None
    assert state.chosen.row.socket.remote_port == ports(state)[-1]
    press(state, "home", "k")
    assert state.chosen.row.socket.remote_port == ports(state)[0]


def test_what_is_pasted_into_the_filter_is_one_line_without_control_characters() -> None:
    state = a_state()
    state.paste("port:1")
    assert ports(state) == [1, 2, 3, 4]
    press(state, "/")
    state.paste("port:443\n unit:nginx\x1b[2J\n")
    assert state.text == "port:443 unit:nginx[2J"
    state.paste("x" * 5000)
    assert len(state.text) == MOST


def test_a_key_that_asks_for_more_is_known_as_such() -> None:
    state = a_state()
    before = state.wanted
    press(state, "down")
    assert not state.wanted.is_more_than(before)
    press(state, "g")
    assert state.wanted.is_more_than(before)
    assert not before.is_more_than(state.wanted)


def test_the_chosen_socket_is_asked_for() -> None:
    state = a_state()
    press(state, "down")
    assert state.wanted.inodes == {ROWS[0].socket.inode}
