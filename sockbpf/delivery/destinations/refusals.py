# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver that names what it refuses of a batch, and takes it only without that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Alerts = Sequence[Mapping[str, str]]

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
