# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What user space finds out about a socket, once, and writes down for the kernel side: its process, its cgroup."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from sockbpf.judge.rules import fits_cgroup, fits_process
from sockbpf.kernel.attach.ruleset import ABOUT_CGROUP, ABOUT_INODE, ASK_CGROUP, ASK_INODE
from sockbpf.kernel.look.whose import Cgroups, cgroup_of_process, cgroup_root
from sockbpf.record.rule import Who

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sockbpf.kernel.attach.rule_tables import RuleTables
    from sockbpf.kernel.look.owner import Owners
    from sockbpf.record.event import Socket
    from sockbpf.record.rule import Match, Rule

MOST = 16_384
"""So many sockets, and cgroups, are remembered: as many as the kernel side's table holds."""


class FoundOut:
    """Remembers whose sockets are. `tables` are those of the kernel side; None where it judges by no rules."""

    def __init__(self, owners: Owners, tables: RuleTables | None) -> None:
        self._owners = owners
        self._tables = tables
        root = cgroup_root()
        self.cgroup_by_process = root is None
        """Whether sockets have no cgroup that is known here, so that it is the one of their process."""
        self._cgroups = Cgroups(root)
        self._processes: OrderedDict[int, tuple[str, str]] = OrderedDict()
        """Inode of a socket -> name of its process, and the process's cgroup."""
        self._paths: OrderedDict[int, str] = OrderedDict()
        """Id of a cgroup -> its path."""
        self._rules: Sequence[Rule] = ()
        self._ask = 0

    def use(self, rules: Sequence[Rule], ask: int) -> None:
        """Say to the kernel side what is known already, as these rules, which it does not use yet, see it."""
        self._rules, self._ask = rules, ask
        for inode in self._processes:
            self._say_process(inode)
        for number in self._paths:
            self._say_cgroup(number)

    def seek(self, sockets: Iterable[Socket]) -> None:
        """Search for the processes of all these at once: one by one each would wait for the rest after a search."""
        if not self._ask:
            return
        inodes = {each.inode for each in sockets if self._ask & ASK_INODE or not each.cgroup}
        if unknown := inodes - self._processes.keys() - {0}:
            self._owners.seek(unknown)

    def is_known(self, socket: Socket) -> bool:
        """Tell whether all that the rules ask about a socket is known."""
        return not self._ask or self.who(socket)[1]

    def who(self, socket: Socket) -> tuple[Who, bool]:
        """Return whose a socket is, and whether that is all known: else it may be known when it is asked again."""
        process, cgroup, knows_process = "", "", True
        if self._ask & ASK_INODE or not socket.cgroup:
            found = self._process(socket.inode)
            knows_process = found is not None
            process, cgroup = found or ("", "")
        if self._ask & ASK_CGROUP and socket.cgroup:
            path = self._cgroup(socket.cgroup)
            return Who(process, path or ""), knows_process and path is not None
        return Who(process, cgroup), knows_process

    def give_up(self, socket: Socket) -> None:
        """Say to the kernel side, of what is not known, that it is nobody's: until it is known, if ever."""
        if self._ask & ASK_INODE and socket.inode and socket.inode not in self._processes:
            self._say(ABOUT_INODE, socket.inode, lambda match: self._holds(match, "", ""))
        if self._ask & ASK_CGROUP and socket.cgroup and socket.cgroup not in self._paths:
            self._say(ABOUT_CGROUP, socket.cgroup, lambda match: fits_cgroup(match, ""))

    def _holds(self, match: Match, process: str, cgroup: str) -> bool:
        return fits_process(match, process) and (not self.cgroup_by_process or fits_cgroup(match, cgroup))

    def _process(self, inode: int) -> tuple[str, str] | None:
        if not inode:  # not accepted yet, or closed: no process holds it
            return "", ""
        if inode in self._processes:
            return self._processes[inode]
        pid, comm = self._owners.owner(inode)
        if not pid:
            return None
        self._processes[inode] = comm, cgroup_of_process(pid)
        if len(self._processes) > MOST:
            self._processes.popitem(last=False)
        self._say_process(inode)
        return self._processes[inode]

    def _cgroup(self, number: int) -> str | None:
        if number not in self._paths:
            path = self._cgroups.path(number)
            if path is None:
                return None
            self._paths[number] = path
            if len(self._paths) > MOST:
                self._paths.popitem(last=False)
            self._say_cgroup(number)
        return self._paths[number]

    def _say_process(self, inode: int) -> None:
        if self._ask & ASK_INODE:
            self._say(ABOUT_INODE, inode, lambda match: self._holds(match, *self._processes[inode]))

    def _say_cgroup(self, number: int) -> None:
        if self._ask & ASK_CGROUP:
            self._say(ABOUT_CGROUP, number, lambda match: fits_cgroup(match, self._paths[number]))

    def _say(self, about: int, value: int, holds: Callable[[Match], bool]) -> None:
        if self._tables:
            bits = sum(1 << place for place, rule in enumerate(self._rules) if holds(rule.match))
            self._tables.find_out(about, value, bits)
