# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How long one try of a delivery may take, and how late an alert is delivered."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.process.clock import boottime_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.delivery.owed import Owed
    from sockbpf.settings.destinations import AnyDestination

LOOKUP_S = 60.0
"""How long the look-up of a name may take (resolv.conf)."""


def round_s(settings: AnyDestination) -> float:
    """Return how long one try may take at the very most: the look-up of a name, many addresses, redirects.

    To that comes what a receiver may take to acknowledge.
    """
    if settings.type == "file":
        return math.inf  # a disk that hangs has no timeout
    return LOOKUP_S + 20 * settings.timeout + (settings.ack if settings.type == "splunk" else 0.0)


def late_s(owed: Owed, fields: Mapping[str, str]) -> float | None:
    """Return how many seconds after its timestamp an alert is delivered now; None if it has no valid timestamp.

    Corrections of the date since the alert was made do not count.
    """
    with suppress(ValueError, KeyError):
        return boottime_s() - owed.boot_s + max(0.0, owed.made_s - float(fields["timestamp"]))
    return None
