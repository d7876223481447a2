# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Says of each alert of one queue whose its socket is beyond its process: user, cgroup, network namespace.

Nothing here asks another host or process: a name service that hangs must not hold up an alert.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.kernel.look.arguments import arguments_of
from sockbpf.kernel.look.whose import (
    Accounts,
    Cgroups,
    cgroup_of_process,
    cgroup_root,
    named_namespaces,
    own_or_process,
)
from sockbpf.monitor.container_names import ContainerNames
from sockbpf.record.alert import CLEARED, Folded, Notice
from sockbpf.record.cmdline import shown
from sockbpf.record.event import NO_UID
from sockbpf.record.socket_row import NOBODY, Whose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sockbpf.record.event import Socket

MOST_EPISODES = 2048
"""Episodes of which is remembered whose they are until they end; of more, the oldest are forgotten."""

NAMES_S = 1.0
"""So long the names of network namespaces are taken to be the same."""


class Naming:
    """Gives each notice of one queue what is known of its owner, then or earlier. For the loop's thread."""

    def __init__(self) -> None:
        self._cmdline = False
        self._containers = ContainerNames()
        self._cgroups = Cgroups(cgroup_root())
        self._accounts = Accounts()
        self._known: OrderedDict[str, Whose] = OrderedDict()
        """Id of an episode -> what was found of its owner, which may be gone since."""
        self._names: Mapping[int, str] = {}
        self._next_names_s = 0.0

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._known)

    def prepare(self, containers: Path | None) -> None:
        """Get ready for names of containers, before `use`. Raise NoThreadError."""
        self._containers.prepare(containers)

    def use(self, *, cmdline: bool, containers: Path | None) -> None:
        """Say whether command lines are read, and where names of containers are; others read before are forgotten."""
        self._containers.use(containers)
        if cmdline != self._cmdline:
            self._cmdline = cmdline
            for id_, whose in self._known.items():
                self._known[id_] = replace(whose, pid=0, cmdline="")

    def known(self, id_: str) -> Whose:
        """Return what is known of the owner of an open episode that has made an alert."""
        return self._known.get(id_, NOBODY)

    def named(self, notices: Iterable[Notice | Folded]) -> list[Notice | Folded]:
        """Return the notices, each of one queue with what is known of its owner."""
        return [one if isinstance(one, Folded) else self._named(one) for one in notices]

    def whose(self, notice: Notice) -> Whose:
        """Return what is known of the owner of a queue that is over; it is not remembered."""
        if notice.socket is None:
            return NOBODY
        return self._whose(notice.socket, notice.pid, self._known.get(notice.id, NOBODY))

    def names_of(self, netns: int) -> list[str]:
        """Return the name of a network namespace, if it has one."""
        name = self._name_of(netns)
        return [name] if name else []

    def _named(self, notice: Notice) -> Notice:
        if notice.socket is None:
            return notice
        before = self._known.pop(notice.id, notice.whose)
        whose = self._whose(notice.socket, notice.pid, before)
        if notice.event != CLEARED:
            self._known[notice.id] = whose
            if len(self._known) > MOST_EPISODES:
                self._known.popitem(last=False)
        return replace(notice, whose=whose)

    def _whose(self, socket: Socket, pid: int, before: Whose) -> Whose:
        """Return what is known now, and what was known `before` and is not to be had any more."""
        # The process may be gone since, and its number another's.
        is_same = pid == before.pid
        of_process = before.process_cgroup if is_same else cgroup_of_process(pid)
        cmdline = before.cmdline if is_same or not self._cmdline else shown(arguments_of(pid))
        user = "" if socket.uid == NO_UID else self._accounts.name(socket.uid)
        whose = Whose(
            pid=pid,
            user=user or before.user,
            cgroup=own_or_process(self._cgroups, socket.cgroup, of_process) or before.cgroup,
            process_cgroup=of_process or before.process_cgroup,
            netns_name=self._name_of(socket.netns) or before.netns_name,
            cmdline=cmdline or before.cmdline,
            container_name=before.container_name,
        )
        name = self._containers.name(whose)
        return replace(whose, container_name=name) if name else whose

    def _name_of(self, netns: int) -> str:
        now_s = time.monotonic()
        if now_s >= self._next_names_s:
            self._names = {number: name for name, number in named_namespaces().items()}
            self._next_names_s = now_s + NAMES_S
        return self._names.get(netns, "")
