# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the path of a cgroup says: the systemd unit, the container. Pure: no I/O."""

from __future__ import annotations

import re

ID = re.compile(r"(?:^|[:-])([0-9a-f]{64})(?:\.scope)?$")
"""A container's id in a part of the path: docker-ID.scope, /docker/ID, libpod-ID.scope, cri-containerd-ID.scope."""

NAMED = (
    re.compile(r"^systemd-nspawn@(.+)\.service$"),
    re.compile(r"^machine-(?!qemu\\x2d)(.+)\.scope$"),  # systemd-machined; qemu's are virtual machines
    re.compile(r"^lxc\.payload\.(.+)$"),
)
"""A container that goes by a name: systemd-nspawn's and LXC's, by a part of the path."""

FOLDERS = ("lxc", "lxc.payload")
"""Of an older LXC: the folder that has one for each container, by its name."""

ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
"""How systemd writes other characters in the name of a unit: unit_name_escape of its basic/unit-name.c."""

ID_DIGITS = 12
"""So many digits of a container's id are shown, and are enough to name it."""

UNITS = (".service", ".scope", ".socket")


def unit_of(cgroup: str) -> str:
    """Return the systemd unit of a cgroup; empty if it has none. The innermost one counts."""
    units = (part for part in reversed(cgroup.split("/")) if part.endswith(UNITS))
    return next(units, "")


def container_of(cgroup: str) -> str:
    """Return the id of the container of a cgroup, else its name, the innermost one; empty if it has none."""
    parts = cgroup.split("/")
    for place in range(len(parts) - 1, -1, -1):
        if found := ID.search(parts[place]):
            return found[1]
        if name := _name_in(parts[place]):
            return name
        if place and parts[place] and parts[place - 1] in FOLDERS:
            return parts[place]
    return ""


def shown_container(container: str) -> str:
    """Return what is shown of a container: the first digits of an id, all of a name."""
    return container[:ID_DIGITS] if ID.fullmatch(container) else container


def _name_in(part: str) -> str:
    for form in NAMED:
        if found := form.match(part):
            return ESCAPED.sub(lambda code: chr(int(code[1], 16)), found[1])
    return ""
