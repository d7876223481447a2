# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the queues of a host are summed up by, as a metric's label: the systemd unit of a cgroup. Pure: no I/O.

Only root and the system's service manager make what is named here: whatever lies below a user's slice is that slice,
and of a container neither its id nor what its inhabitants call themselves is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sockbpf.record.cgroup import FOLDERS, ID, UNITS

OTHER = "other"

MOST_CHARACTERS = 64
"""A longer name is cut."""

USER = re.compile(r"^user-[0-9]+\.slice$")

PER_CONNECTION = re.compile(r"@[0-9]+-(?:.*:[0-9]+-.*:[0-9]+|[0-9]+-[0-9]+)(?=\.service$)")
"""The instance of a socket unit's service with Accept=yes: it holds both addresses of the connection."""

TRANSIENT = re.compile(r"^run-.+(?=\.(?:service|scope)$)")
"""What systemd-run calls a unit that was given no name."""

NUMBER = re.compile(r"[0-9a-f]{12,}")
"""Of an id, not of a name."""

UNFIT = re.compile(r"[^A-Za-z0-9:_.@*\\-]")


@dataclass(frozen=True, slots=True)
class Home:
    """The unit of a cgroup, empty if it has none; that of a container is made anew at each start."""

    unit: str = ""
    is_container: bool = False


NOWHERE = Home()


def home_of(cgroup: str) -> Home:
    """Return the outermost unit of a cgroup by a name that is the same after a restart; of a user the slice."""
    for part in cgroup.split("/"):
        if USER.match(part):
            return Home(part)
        if part in FOLDERS or part.startswith("lxc.payload."):
            return NOWHERE
        if part.endswith(UNITS) and part != "init.scope":
            return Home(_lasting(part), is_container=bool(ID.search(part)))
    return NOWHERE


def _lasting(unit: str) -> str:
    """Return the name without what another start gives it, and without characters that no unit has."""
    unit = PER_CONNECTION.sub("@*", unit)
    unit = TRANSIENT.sub("run-*", unit)
    if unit.endswith(".socket"):  # the sockets that systemd makes for the service of that name
        unit = unit.removesuffix(".socket") + ".service"
    return UNFIT.sub("_", NUMBER.sub("*", unit))[:MOST_CHARACTERS]
