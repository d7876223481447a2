# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One frame of `sockbpf top` with groups of sockets, each a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.view.sockets_table import OVER
from sockbpf.view.top_frame import first_lines, line, short_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from sockbpf.judge.top_order import Group
    from sockbpf.judge.tracks import Tracks
    from sockbpf.record.moment import Moment

HEADINGS = ("sockets", "over", "recv", "send", "accept")


def groups_frame(
    moment: Moment,
    tracks: Tracks,
    groups: Sequence[Group],
    size: tuple[int, int],
    said: str = "",
    *,
    chosen: str | None = None,
) -> list[RenderableType]:
    """Return the parts of a frame of this width and height: as many groups as fit, the chosen one among them."""
    width, height = size
    heads = first_lines(moment, tracks, said, width, height)
    room = max(height - len(heads) - 1, 0)
    at = next((place for place, group in enumerate(groups) if group.name == chosen), 0)
    first = max(0, min(at - room // 2, len(groups) - room))
    headings = "".join(f"{heading:>8}" for heading in HEADINGS)
    lines = [line(f"{headings}  name", "bold", width)]
    lines += [
        line(_text(group), _style(group, is_chosen=group.name == chosen), width)
        for group in groups[first : first + room]
    ]
    return [*heads, *lines[: room + 1]]


def _text(group: Group) -> str:
    numbers = (group.sockets, group.over, short_size(group.recv), short_size(group.send), group.waiting)
    return "".join(f"{number:>8}" for number in numbers) + f"  {group.name}"


def _style(group: Group, *, is_chosen: bool) -> str:
    own = OVER if group.over else ""
    return f"{own} reverse".strip() if is_chosen else own
