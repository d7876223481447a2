# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver that takes a batch only without what it refuses of it, whether it names that or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Alerts = Sequence[Mapping[str, str]]

TRIED_ALONE = 8
"""So many alerts of a batch are tried by themselves to see whether the receiver takes any."""

MOST_PARTS = 40
"""So many requests for one batch that is refused as a whole: all of them within the time of one try."""

MOST = 8
"""So many requests for one batch: if the receiver refuses something of each, halves are tried by themselves."""


def without_refused(alerts: Alerts, send: Callable[[Alerts], Mapping[int, str]]) -> Mapping[int, str]:
    """Send alerts until a request is taken whole; return of those that were refused the place and the reason.

    `send` returns the place and the reason of what was refused of the alerts it was given; nothing once all are
    delivered. Raise what it raises, and a permanent TransportError after `MOST` requests.
    """
    refused: dict[int, str] = {}
    left = list(range(len(alerts)))
    for _ in range(MOST):
        found = send([alerts[place] for place in left])
        refused |= {left[place]: reason for place, reason in found.items()}
        left = [place for place in left if place not in refused]
        if not found or not left:
            return refused
    raise TransportError(f"{len(refused)} alerts of one batch were refused", permanent=True)


class DoubtfulError(TransportError):
    """The request was refused, for something in an alert or because no alert can be taken: nobody can tell."""


def without_doubtful(alerts: Alerts, send: Callable[[Alerts], Mapping[int, str]]) -> Mapping[int, str]:
    """Send alerts, after a DoubtfulError each half by itself; return the place and the reason of what was refused.

    An alert is refused only if the receiver takes another one of the batch. If it takes none of some that are tried
    alone, raise its DoubtfulError: all are to be tried again. Raise what `send` raises besides, and a permanent
    TransportError after `MOST_PARTS` requests.
    """
    try:
        return send(alerts)
    except DoubtfulError:
        if not any(_takes(alerts[place], send) for place in _spread(len(alerts))):
            raise
    refused: dict[int, str] = {}
    parts = _halves(range(len(alerts)))
    for _ in range(MOST_PARTS):
        part = parts.pop()
        try:
            found = send([alerts[place] for place in part])
        except DoubtfulError as error:
            if len(part) > 1:
                parts += _halves(part)
            else:
                refused[part[0]] = str(error)
        else:
            refused |= {part[place]: reason for place, reason in found.items()}
        if not parts:
            return refused
    raise TransportError("much of one batch was refused", permanent=True)


def _spread(number: int) -> list[int]:
    """Return at most `TRIED_ALONE` places of so many, from the first to the last; none of a single one."""
    tried = min(number, TRIED_ALONE)
    return [place * (number - 1) // (tried - 1) for place in range(tried)] if number > 1 else []


def _halves(part: range) -> list[range]:
    """Return both halves, the first one last."""
    half = len(part) // 2
    return [part[half:], part[:half]]


def _takes(alert: Mapping[str, str], send: Callable[[Alerts], Mapping[int, str]]) -> bool:
    try:
        send([alert])
    except DoubtfulError:
        return False
    return True
