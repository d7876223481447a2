# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which notices are silenced now, by the silences that last and what is known of a socket's owner. For the loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sockbpf.judge.rules import asks_who, fits_cgroup, fits_process, fits_socket
from sockbpf.judge.silenced import Silenced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.counters import Counters
    from sockbpf.monitor.naming import Naming
    from sockbpf.monitor.silences import Silences
    from sockbpf.record.alert import Folded, Notice
    from sockbpf.record.rule import Match


class Silencing:
    """Stands before the stages, and once more behind them."""

    def __init__(self, silences: Silences, naming: Naming, counters: Counters) -> None:
        self.silences = silences
        self._naming = naming
        self.untold = Silenced(self._is_silenced, lambda number: counters.add("silenced", number))
        """The open episodes that were not told."""

    def on_notices(self, notices: list[Notice]) -> list[Notice]:
        """Return those notices that are told."""
        return self.untold.on_notices(notices) if self._has_work() else notices

    def go_on(self, notices: list[Notice | Folded]) -> list[Notice | Folded]:
        """Return those notices of the stages that are told."""
        return self.untold.go_on(notices) if self.silences.now() else notices

    def ended(self) -> list[Notice]:
        """Return the beginnings of what is open and not silenced any more."""
        return self.untold.ended() if len(self.untold) else []

    def next_due_ns(self, now_ns: int) -> int | None:
        """Return when the first silence ends, CLOCK_MONOTONIC; None if nothing waits for that."""
        ends_s = [each.until_s for each in self.silences.now()] if len(self.untold) else []
        return now_ns + max(0, int((min(ends_s) - time.time()) * 1e9)) if ends_s else None

    def is_silenced(self, notices: Iterable[Notice]) -> set[str]:
        """Return the ids of those of the notices that are silenced."""
        return {each.id for each in notices if self._is_silenced(each)} if self.silences.now() else set()

    def _has_work(self) -> bool:
        return bool(len(self.untold) or self.silences.now())

    def _is_silenced(self, notice: Notice) -> bool:
        return notice.socket is not None and any(
            self._fits(each.match, notice) for each in self.silences.now()
        )

    def _fits(self, match: Match, notice: Notice) -> bool:
        assert notice.socket  # noqa: S101  it has been asked for
        if not fits_socket(match, notice.socket, notice.direction.name, self._naming.names_of):
            return False
        if not asks_who(match):
            return True
        whose = self._naming.whose(notice)
        return fits_process(match, notice.comm if notice.pid else "") and fits_cgroup(
            match, whose.cgroup or whose.home, whose.home
        )
