# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel side as Python sees it: programs that can be attached, what they say, what they keep."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sockbpf.kernel.attach.attachments import Attachments
from sockbpf.kernel.attach.perf import Rings
from sockbpf.kernel.attach.tables import KernelLevels, Tables
from sockbpf.record.event import Event, decode

if TYPE_CHECKING:
    from collections.abc import Collection

    from sockbpf.counters import Counters
    from sockbpf.kernel.attach.loading import Loaded
    from sockbpf.kernel.build.choice import Sight
    from sockbpf.kernel.build.hooks import Hook

log = logging.getLogger(__name__)


class Probes:
    """The loaded programs and their tables. Not safe from several threads."""

    def __init__(
        self,
        sights: Collection[Sight],
        loaded: Loaded,
        levels: KernelLevels,
        *,
        perf_pages: int,
        counters: Counters,
    ) -> None:
        """Take over what was loaded for these sights; nothing is attached yet.

        Raise UnsupportedError when there is no room for the events.
        """
        self.sights = sights
        self.types = loaded.types
        self._loaded = loaded
        self._counters = counters
        self._demanded: set[Hook] = set()
        try:
            self.tables = Tables(loaded.tables)
            self.tables.set_levels(levels)
            self._attachments = Attachments(loaded.programs, loaded.refused)
            self._rings = Rings(loaded.tables["events"], perf_pages, self._lose)
        except BaseException:
            loaded.close()
            raise

    def _lose(self, count: int) -> None:
        self._counters.add("lost_ring", count)

    def attach(self) -> dict[Hook, str]:
        """Attach all hooks, those on demand only to see that they can be; return those that were refused, and why."""
        refused: dict[Hook, str] = {}
        for sight in self.sights:
            candidate = sight.candidate
            if candidate is None:
                continue
            refused |= self._attachments.attach(candidate.hooks)
            if candidate.on_demand:
                self._demanded.update(candidate.hooks)
                self._attachments.detach(candidate.hooks)
        return refused

    def demand(self, *, wanted: bool) -> None:
        """Attach or detach the hot hooks that only an open UDP send episode needs."""
        if wanted:
            self._attachments.attach(self._demanded)
        else:
            self._attachments.detach(self._demanded)

    def fds(self) -> list[int]:
        """Return the descriptors that become readable when there are events."""
        return self._rings.fds()

    def read(self) -> list[Event]:
        """Return the events that have come, without waiting."""
        taken = self._rings.read()
        self._counters.add("events", len(taken))
        events = []
        for raw in taken:
            try:
                events.append(decode(raw))
            except ValueError:
                self._counters.add("undecodable")
                log.exception("an event of %d bytes makes no sense: %s", len(raw), raw.hex())
        return events

    def close(self) -> None:
        """Detach and unload everything; what cannot be detached goes with the process."""
        self._attachments.close()
        self._rings.close()
        self._loaded.close()
