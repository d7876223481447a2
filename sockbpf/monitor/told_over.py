# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the running monitor says is over, read of its status. Pure: no I/O. What makes no sense is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockbpf.record.moment import Ends, OpenEpisode, Told
from sockbpf.record.why import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def told_over(status: Mapping[str, Any]) -> Told:
    """Return what is over by this status."""
    listed = status.get("open")
    episodes = tuple(_episodes(listed if isinstance(listed, list) else []))
    open_count = sum(_whole(status.get(name)) for name in ("over", "stalled", "held"))
    blind = status.get("blind")
    reasons = tuple(map(str, blind)) if isinstance(blind, list) else ()
    return Told(episodes, max(open_count - len(episodes), 0), reasons)


def _episodes(listed: list[Any]) -> Iterator[OpenEpisode]:
    for each in listed:
        if isinstance(each, dict):
            yield OpenEpisode(
                ends=None if "name" in each else _ends(each),
                type=str(each.get("type", "")),
                condition=str(each.get("condition", "")),
                severity=str(each.get("severity", "")),
                rule=str(each.get("rule", "")),
                size=_whole(each.get("size")),
                threshold=_whole(each.get("threshold")),
                since_s=float(_number(each.get("since"))),
                held=each.get("held") is True,
                name=str(each.get("name", "")),
                cause=_cause(each),
                reason=str(each.get("reason", "")),
                silenced=each.get("silenced") is True,
            )


def _cause(fields: Mapping[str, Any]) -> str:
    cause = str(fields.get("cause", ""))
    return "" if cause == Cause.UNKNOWN.value else cause


def _ends(fields: Mapping[str, Any]) -> Ends:
    local = (
        str(fields.get("protocol", "")),
        str(fields.get("local_ip", "")),
        _whole(fields.get("local_port")),
    )
    remote = (str(fields.get("remote_ip", "")), _whole(fields.get("remote_port")))
    return (*local, *remote, _whole(fields.get("netns")))


def _whole(value: object) -> int:
    return int(_number(value))


def _number(value: object) -> int | float:
    return value if isinstance(value, (int, float)) and abs(value) < 1 << 63 else 0  # no NaN, no infinity
