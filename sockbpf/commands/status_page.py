# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A status as a page of text: what is wrong first, then the open episodes, the worst first, then how it watches."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    Status = dict[str, Any]

MOST_ROWS = 20
"""So many open episodes are shown; --json has more."""

COLOURS = {"critical": "red", "warning": "yellow"}


def page(told: Status) -> Iterator[RenderableType]:
    """Yield the parts of the page."""
    yield _headline(told)
    for reason in told["blind"]:
        yield _line(f"blind: {reason}", "bold red")
    if told["losses"]:
        yield _line("lost since its start: " + _numbers(told["losses"]), "red")
    for name, its in told["destinations"].items():
        if its["owed"] or its["dead"]:
            dead = ", taken for dead: one request at a time" if its["dead"] else ""
            yield _line(f"destination {name} is owed {its['owed']} alerts{dead}", "yellow")
    for each in told["unseen"]:
        yield _line(f"unseen: {each}", "yellow")
    for each in told.get("silences", ()):
        yield _line(_silence(each, told["timestamp"]), "yellow")
    yield _line(_counted(told))
    if told["open"]:
        yield _table(told["open"][:MOST_ROWS])
        if (more := told["over"] + told["stalled"] + told["held"] - len(told["open"][:MOST_ROWS])) > 0:
            yield _line(f"and {more} more", "dim")
    yield from map(_line, _how(told))
    yield _hooks(told["hooks"])
    yield _line("counters: " + _numbers({name: count for name, count in told["counters"].items() if count}))


def span(seconds: float) -> str:
    """Return a time span in its greatest unit, such as 12 s, 3 min, 5 h, 2 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _headline(told: Status) -> Text:
    since = datetime.fromtimestamp(told["started"], timezone.utc).astimezone()
    running = span(max(told["timestamp"] - told["started"], 0.0))
    return _line(
        f"sockbpf {told['version']} on {told['host']}, process {told['pid']}, run {told['run']}: "
        f"{told['state']} for {running}, since {since:%Y-%m-%d %H:%M:%S %Z}",
        "bold",
    )


def _counted(told: Status) -> str:
    oldest = f"; the oldest for {span(told['oldest'])}" if told["over"] or told["stalled"] else ""
    held = f", {told['held']} over for less than their hold" if told["held"] else ""
    silenced = f", {told['silenced']} not told: silenced" if told.get("silenced") else ""
    return f"{told['over']} over, {told['stalled']} stalled{oldest}{held}{silenced}"


def _silence(silence: dict[str, Any], now_s: float) -> str:
    match = ",".join(f"{key}={','.join(map(str, values))}" for key, values in silence["match"].items())
    reason = f" ({silence['reason']})" if silence["reason"] else ""
    return f"silence {silence['id']} for {span(max(silence['until'] - now_s, 0.0))} more: {match}{reason}"


def _table(queues: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    for name in ("queue", "socket", "process"):
        table.add_column(name, overflow="fold", no_wrap=False)
    for name in ("size", "threshold", "peak", "for"):
        table.add_column(name, justify="right", no_wrap=True)
    for queue in queues:
        style = "dim" if queue["held"] else COLOURS.get(queue["severity"], "")
        table.add_row(*map(_cell, _row(queue)), style=style)
    return table


def _row(queue: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the cells, each as its lines."""
    condition = queue["condition"] + (", held" if queue["held"] else "")
    condition += ", silenced" if queue.get("silenced") else ""
    return (
        (f"{queue.get('protocol', '')} {queue['type']}".strip(), condition, queue.get("rule", "")),
        (*_place(queue), queue.get("reason", "")),
        (queue["comm"], str(queue["pid"])) if "pid" in queue else ("?",),
        (str(queue["size"]), f"{queue['fill']}%" if "fill" in queue else ""),
        (str(queue["threshold"]),),
        (str(queue["peak"]),),
        (span(float(queue["duration"])),),
    )


def _place(queue: dict[str, Any]) -> tuple[str, ...]:
    if "name" in queue:
        return f"{queue['name']} a {queue['per']}", f"netns {queue['netns']}"
    ends = [(queue[f"{end}_ip"], queue[f"{end}_port"]) for end in ("local", "remote")]
    return tuple(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in ends)


def _how(told: Status) -> Iterator[str]:
    looked = "not looked at yet" if told["looked"] is None else f"looked at {span(told['looked'])} ago"
    yield f"mode {told['mode']}; sockets {looked}, each {span(told['look_interval'])}, by {told['look']}"
    thresholds = told["thresholds"]
    yield (
        f"thresholds send {thresholds['send']}, recv {thresholds['recv']}, hold {told['hold']:g} s; "
        f"stalled after {told['stalled_after']:g} s above {told['stalled_above']} bytes; rules: {told['rules']}"
    )
    owed = (
        f"{told['owed']} alerts owed, the oldest for {span(told['oldest_owed'])}"
        if told["owed"]
        else "nothing owed"
    )
    yield f"{owed}; destinations: {', '.join(told['destinations'])}"


def _hooks(hooks: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for thing, names in hooks.items():
        table.add_row(_cell((f"  {thing}",)), _cell((names,)))
    return table


def _numbers(counts: dict[str, int]) -> str:
    return " ".join(f"{name}={count}" for name, count in counts.items())


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _cell(lines: tuple[str, ...]) -> Text:
    """Return the text of a cell; a name in it cannot forge another line or a colour."""
    return Text("\n".join(printable(line) for line in lines if line))
