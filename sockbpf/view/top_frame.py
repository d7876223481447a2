# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One frame of `sockbpf top`: a line of totals, what cannot be seen, and as many sockets as fit the screen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from sockbpf.judge.tracks import counters_over, size_of
from sockbpf.record.event import Direction
from sockbpf.record.facts import STATES, Condition
from sockbpf.record.text import printable
from sockbpf.view.columns import COLUMNS, Column, accept_text, end_text, fill_text, short_span
from sockbpf.view.sockets_table import OVER, sockets_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from sockbpf.judge.tracks import Track, Tracks
    from sockbpf.record.event import Socket
    from sockbpf.record.moment import Moment, OpenEpisode
    from sockbpf.record.socket_row import SocketRow

ENDED = "dim"
NOT_OF_TOP = ("over", "cause", "age", "recv", "send", "accept", "fill", "recv limit", "send limit", "cgroup")
"""Columns of the list that are left out or put otherwise."""
NARROW = 60
OF_NARROW = ("recv", "send", "local", "remote")
"""Columns of a screen of fewer characters than NARROW."""
SIZE_WIDTH = 6
DIGITS = 100_000
SIZE_UNITS = (("", 1), ("k", 1000), ("M", 1_000_000))


def reason(track: Track, now_unix_s: float) -> str:
    """Return why a socket is over: by the monitor's open episodes, else by the thresholds. Printable."""
    if track.has_ended:
        return "ended"
    if track.episodes:
        return ", ".join(_told(each, now_unix_s) for each in track.episodes)
    queues, whys = track.row.queues.items(), track.row.whys
    causes = {direction: f": {why.cause.value}" for direction, why in whys.items() if why.cause.is_known}
    return ", ".join(
        f"{_of(each.name, queue.condition.value)}{causes.get(each, '')}"
        for each, queue in queues
        if queue.is_over
    )


def _told(episode: OpenEpisode, now_unix_s: float) -> str:
    held = " held" if episode.held else " silenced" if episode.silenced else ""
    since = short_span(max(now_unix_s - episode.since_s, 0.0))
    rule = f" by {episode.rule}" if episode.rule else ""
    cause = f": {episode.cause}" if episode.cause else ""
    return printable(f"{since} {_of(episode.type, episode.condition)}{cause}{held}{rule}")


def _of(queue: str, condition: str) -> str:
    return queue if condition == Condition.ACCEPT.value else f"{queue} {condition}"


def frame(
    moment: Moment,
    tracks: Tracks,
    shown: Sequence[Track],
    size: tuple[int, int],
    said: str = "",
    *,
    chosen: Socket | None = None,
    sorted_by: str = "",
) -> list[RenderableType]:
    """Return the parts of a frame of this width and height: of `shown`, in their order, as many as fit.

    `said` is a line about how they are shown; `chosen` is marked; the column `sorted_by` is there in any case.
    """
    width, height = size
    heads = first_lines(moment, tracks, said, width, height)
    room = max(height - len(heads) - 1, 0)  # one line has the headings
    if not shown:
        return [*heads, line("no queue holds anything that fits", "", width)]
    return [*heads, _table(tracks, shown[:room], width, chosen, sorted_by)] if room else list(heads)


def first_lines(moment: Moment, tracks: Tracks, said: str, width: int, height: int) -> list[Text]:
    """Return the lines above the rows: what is over, what cannot be seen, `said`."""
    heads = [line(text, style, width) for text, style in _heads(moment, tracks)]
    return [*heads, *([line(said, "bold", width)] if said else [])][: max(height - 2, 1)]


def _heads(moment: Moment, tracks: Tracks) -> Iterator[tuple[str, str]]:
    alive = [track for track in tracks.by_socket.values() if not track.has_ended]
    over = sum(track.is_over for track in alive) + (moment.told.more if moment.told else moment.rest.over)
    by = "thresholds (no monitor)" if moment.told is None else "the running monitor"
    held = f"{len(alive) + moment.rest.sockets} sockets not empty"
    yield f"{over} over by {by}; {held}; a look each {moment.every_s:.0f} s", OVER if over else "bold"
    if moment.told is not None:
        for each in moment.told.blind:
            yield f"blind: {each}", OVER
    for episode in counters_over(moment):
        yield f"{episode.name} rises by {episode.size}, over {episode.threshold}", OVER
    if moment.rest.sockets:
        yield f"the worst {len(alive)} are here; a filter, a group, another order has all", "bold"
    if moment.notes:
        more = f" (and {len(moment.notes) - 1} more)" if len(moment.notes) > 1 else ""
        yield moment.notes[0] + more, "yellow"


def _table(
    tracks: Tracks, shown: Sequence[Track], width: int, chosen: Socket | None, sorted_by: str
) -> RenderableType:
    def why(row: SocketRow) -> str:
        return reason(tracks.by_socket[row.socket], tracks.now_unix_s)

    def still(row: SocketRow) -> str:
        seconds = tracks.by_socket[row.socket].still_s(tracks.now_s)
        return ("" if seconds is None else short_span(seconds)).rjust(5)

    def style(row: SocketRow) -> str:
        track = tracks.by_socket[row.socket]
        own = ENDED if track.has_ended else OVER if track.is_over else ""
        return f"{own} reverse".strip() if row.socket == chosen else own

    first = (Column("why", why, 2, may_be_cut=True), Column("still", still, 3, is_number=True))
    columns = [
        replace(column, keep=0) if column.heading == sorted_by else column
        for column in (*first, *SIZES, *(each for each in COLUMNS if each.heading not in NOT_OF_TOP))
        if width >= NARROW or column.heading in OF_NARROW
    ]
    return sockets_table([track.row for track in shown], width, columns, style)[0]


def short_size(size: int) -> str:
    """Return a size in few characters: to the byte below 100 000, in thousands, in millions."""
    unit, divisor = next(each for each in SIZE_UNITS if size < DIGITS * each[1] or each is SIZE_UNITS[-1])
    return f"{size // divisor}{unit}"


def _recv(row: SocketRow) -> str:
    queue = row.queues.get(Direction.RECV)
    return (short_size(queue.size) if queue else accept_text(row)).rjust(SIZE_WIDTH)


def _send(row: SocketRow) -> str:
    queue = row.queues.get(Direction.SEND)
    return (short_size(queue.size) if queue else "").rjust(SIZE_WIDTH)


def _fill(row: SocketRow) -> str:
    return fill_text(row).rjust(4)


SIZES = (
    Column("recv", _recv, 0, is_number=True),
    Column("send", _send, 0, is_number=True),
    Column("fill", _fill, 3, is_number=True),
)
"""Of a fixed width, so that the columns beside them stay where they are."""


def fits_words(row: SocketRow, words: Sequence[str]) -> bool:
    """Tell whether each word is part of what is shown of a socket."""
    if not words:
        return True
    socket, whose = row.socket, row.whose
    local, remote = (
        end_text(socket.local_ip, socket.local_port),
        end_text(socket.remote_ip, socket.remote_port),
    )
    names = f"{whose.comm}/{whose.pid} {whose.user} {whose.cgroup} {whose.process_cgroup} {whose.netns_name}"
    text = f"{socket.protocol.name} {STATES.get(row.state, '')} {local} {remote} {names}".lower()
    return all(word in text for word in words)


def wanted(tracks: Sequence[Track], fits: Callable[[SocketRow], bool], words: Sequence[str]) -> list[Track]:
    """Return those that a filter asks for."""
    return [
        track for track in tracks if size_of(track.row) and fits(track.row) and fits_words(track.row, words)
    ]


def line(text: str, style: str, width: int) -> Text:
    """Return one line of the screen; nothing in it is raw."""
    made = Text(printable(text), style, no_wrap=True)
    made.truncate(width, overflow="ellipsis")
    return made
