# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of a running monitor, by its status; and what is a state of its own: blind, starting, hooks missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockbpf.plugin.verdict import Figure, Ranges, State, range_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sockbpf.plugin.verdict import Range, Verdict

    Status = Mapping[str, Any]

WORDS = {
    "over": ("{} over", ""),
    "stalled": ("{} stalled", ""),
    "oldest": ("the oldest for {} s", "s"),
    "owed": ("{} alerts owed", ""),
    "lost": ("{} lost", "c"),
}
"""The figures in their order: the key of the status, which is the label, to the words and the unit."""

SAID = ("over", "stalled")
DEFAULTS = {"over": "0", "stalled": "0", "lost": "0"}
"""The ranges of a warning for figures that nothing is asked of."""

MORE_QUEUES = (0, 5, 20, 100)
"""So many queues are shown by the number of -v."""


def with_defaults(warning: dict[str, Range], critical: dict[str, Range]) -> Ranges:
    """Return these ranges, and the default ones for figures that have none."""
    defaults = {name: range_of(text) for name, text in DEFAULTS.items() if name not in warning | critical}
    return Ranges(defaults | warning, critical)


def judged(told: Status, ranges: Ranges, verbose: int, unseen: State) -> Verdict:
    """Judge a status; `unseen` is the state if hooks are missing, so that looks alone see something."""
    figures = [
        Figure(name, float(told[name]), words, unit, is_said=name in SAID)
        for name, (words, unit) in WORDS.items()
    ]
    return verdict(
        figures, ranges, faults=_faults(told, unseen), detail=_worst(told), lines=_lines(told, verbose)
    )


def _faults(told: Status, unseen: State) -> Iterator[tuple[State, str]]:
    if told["blind"]:
        yield State.CRITICAL, f"blind: {told['blind'][0]}"
    if told["state"] == "starting":
        yield State.WARNING, "starting: it has not looked at the sockets yet"
    if told["unseen"]:
        yield unseen, f"not all is seen by hooks: {told['unseen'][0]}"


def _worst(told: Status) -> str:
    queues = [queue for queue in told["open"] if not queue["held"]]
    return f"worst: {_queue(queues[0])}" if queues else ""


def _queue(queue: Mapping[str, Any]) -> str:
    who = f"{queue['comm']} " if "comm" in queue else ""
    if "name" in queue:
        where = f"{queue['name']} in netns {queue['netns']}"
    else:
        ends = [(queue[f"{end}_ip"], queue[f"{end}_port"]) for end in ("local", "remote")]
        local, remote = (f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in ends)
        where = f"{queue['protocol']} {queue['type']} {local}" + (f" to {remote}" if ends[1][1] else "")
    return f"{who}{where} {queue['condition']} {queue['size']} for {float(queue['duration']):.0f} s"


def _lines(told: Status, verbose: int) -> Iterator[str]:
    if not verbose:
        return
    for queue in told["open"][: MORE_QUEUES[min(verbose, 3)]]:
        held = ", held" if queue["held"] else ", silenced" if queue.get("silenced") else ""
        yield f"{queue['severity']}{held}: {_queue(queue)}, threshold {queue['threshold']}, id {queue['id']}"
    for name, its in told["destinations"].items():
        if its["owed"] or its["dead"] or verbose > 1:
            yield f"destination {name}: {its['owed']} owed{', taken for dead' if its['dead'] else ''}"
    for name, count in told["losses"].items():
        yield f"lost: {name}={count}"
    if verbose > 1:
        who = f"sockbpf {told['version']}, process {told['pid']}, run {told['run']}"
        yield f"{who}, mode {told['mode']}, {told['look']}"
        yield from (f"unseen: {each}" for each in told["unseen"])
    if verbose > 2:  # noqa: PLR2004  -vvv
        yield "counters: " + " ".join(f"{name}={count}" for name, count in told["counters"].items())
