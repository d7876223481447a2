# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One socket in detail, each queue as a bar with its history of this session; and the page of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.record.text import printable
from sockbpf.view.columns import end_text, fields, process_text, short_span
from sockbpf.view.sockets_table import OVER
from sockbpf.view.top_frame import line, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from sockbpf.judge.tracks import History, Track, Tracks
    from sockbpf.record.event import Direction
    from sockbpf.record.socket_row import QueueNow

BARS = " ▁▂▃▄▅▆▇█"
LABEL = 7
"""The width of what stands in front of a line."""
NAMES = (
    "state",
    "drops",
    "pid",
    "comm",
    "user",
    "unit",
    "container",
    "cgroup",
    "netns",
    "netns_name",
    "inode",
)
"""The fields that are shown besides; the bars say the others."""
KEYS = (
    ("up, down", "choose a row; also j, k, PgUp, PgDn, Home, End"),
    ("Enter", "the chosen socket in detail, or the sockets of a group; again: back"),
    ("s, S", "sort by the next column, by the one before: worst, recv, send, fill,"),
    ("", "still, drops, proto, state, local, remote, process, unit, container,"),
    ("", "user, netns"),
    ("g", "group by process, unit, service, peer, nothing"),
    ("/", "filter as you type; Enter keeps it, Esc ends it:"),
    ("", "port:443 unit:nginx state:CLOSE-WAIT tcp text"),
    ("Esc", "back: from a page, from a group; then without the filter"),
    ("p, space", "pause, and go on"),
    ("?", "this page, and back"),
    ("q", "quit"),
    ("", ""),
    ("why", "why it is over: since when, queue, condition; held: no alert so far"),
    ("still", "how long nothing has left a queue, as far as this session saw"),
    ("recv, send", "bytes; k: 1000, M: a million; 3/128: 3 wait for accept, 128 may"),
)


def detail(track: Track, tracks: Tracks, width: int) -> list[RenderableType]:
    """Return the lines about one socket."""
    return [line(text, style, width) for text, style in _texts(track, tracks, width)]


def _texts(track: Track, tracks: Tracks, width: int) -> Iterator[tuple[str, str]]:
    socket = track.row.socket
    local = end_text(socket.local_ip, socket.local_port)
    remote = end_text(socket.remote_ip, socket.remote_port)
    yield f"{socket.protocol.name.lower()} {local} to {remote}  {process_text(track.row)}", "bold"
    ago = f" {short_span(tracks.now_s - track.seen_s)} ago" if track.has_ended else ""
    yield reason(track, tracks.now_unix_s) + ago, "dim" if track.has_ended else OVER
    for episode in track.episodes:
        if episode.reason and not track.has_ended:
            yield printable(episode.reason), ""
    for why in track.row.whys.values():
        if why.reason and not track.has_ended and not track.episodes:
            yield printable(why.reason), ""
    for direction, queue in track.row.queues.items():
        yield _bar(direction, queue, width), ""
        for text in _history(track, direction, tracks.now_s, width):
            yield " " * LABEL + text, ""
        yield "", ""
    known = fields(track.row)
    for name in NAMES:
        if name in known:
            yield f"{name:<12} {known[name]}", ""


def _bar(direction: Direction, queue: QueueNow, width: int) -> str:
    fill = min(queue.facts.fill or 0, 100) if queue.size else 0
    room = max(min(width - 55, 60), 10)
    full = round(room * fill / 100)
    over = f", threshold {queue.threshold}" if queue.threshold is not None else ""
    bar = "█" * full + "░" * (room - full)
    return f"{direction.name:<{LABEL}}{bar} {fill:>3}%  {queue.size} of {queue.facts.limit or '?'}{over}"


def _history(track: Track, direction: Direction, now_s: float, width: int) -> Iterator[str]:
    """Yield for how long nothing has left a queue, and its sizes as bars; nothing if it was always empty."""
    history = track.history.get(direction)
    most = max((size for _, size in history.points), default=0) if history else 0
    if not history or not most:
        return
    still = ""
    if direction in track.moved_s and direction in track.row.left and not track.has_ended:
        still = f"nothing has left it for {short_span(now_s - track.moved_s[direction])}; "
    yield f"{still}at most {most} in {short_span(now_s - history.points[0][0])}:"
    yield "".join(_block(size, most) for size in _columns(history, max(width - LABEL - 1, 1)))


def _columns(history: History, room: int) -> list[int]:
    """Return the history in at most so many columns: the greatest size of each part of the time."""
    sizes = [size for _, size in history.points]
    each = -(-len(sizes) // room)
    return [max(sizes[first : first + each]) for first in range(0, len(sizes), each)]


def _block(size: int, most: int) -> str:
    return BARS[-(-size * (len(BARS) - 1) // most)]


def help_page(width: int) -> list[RenderableType]:
    """Return the lines of the page of keys."""
    return [line(f"{key:<12}{does}", "", width) for key, does in KEYS]
