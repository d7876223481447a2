# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the path of a cgroup says: the systemd unit, the container."""

from __future__ import annotations

import re

CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
"""A container's id in the path of its cgroup: docker-ID.scope, /docker/ID, libpod-ID.scope and so on."""

ID_DIGITS = 12
"""So many digits of a container's id are shown, and are enough to name it."""


def unit_of(cgroup: str) -> str:
    """Return the systemd unit of a cgroup; empty if it has none. The innermost one counts."""
    units = (part for part in reversed(cgroup.split("/")) if part.endswith((".service", ".scope", ".socket")))
    return next(units, "")


def container_of(cgroup: str) -> str:
    """Return the id of the container of a cgroup, the innermost one; empty if it has none."""
    found = CONTAINER.findall(cgroup)
    return found[-1] if found else ""
