# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel side as Python sees it: programs that can be attached, what they say, what they keep."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.kernel.attach.attachments import Attachments
from sockbpf.kernel.attach.bpf import run_raw_tracepoint, skipped_runs
from sockbpf.kernel.attach.perf import Rings
from sockbpf.kernel.attach.tables import KernelLevels, Tables
from sockbpf.kernel.build.choice import on_demand
from sockbpf.kernel.build.order import LOOK_AT_QUEUE
from sockbpf.record.crossing import decode_told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sockbpf.counters import Counters
    from sockbpf.kernel.attach.loading import Loaded
    from sockbpf.kernel.build.choice import Sight
    from sockbpf.kernel.build.hooks import Hook
    from sockbpf.record.event import Event

log = logging.getLogger(__name__)

UDP_DRAINS = "UDP receive shrinks"
"""As kernel/build/hooks.py names it."""


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
        self._can_look = self._run_look(0)
        self.on_demand = on_demand(sights, can_look=self._can_look)
        """The hooks that `demand` attaches and detaches, by the thing that they see."""
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
        self.demand(wanted=False)
        return refused

    def demand(self, things: Iterable[str] | None = None, *, wanted: bool) -> bool:
        """Attach or detach the hooks on demand that see these things, or all; return whether that could be done."""
        things = set(self.on_demand if things is None else things)
        hooks = {hook for thing in things for hook in self.on_demand[thing]}
        if not wanted:
            if UDP_DRAINS in things:
                self.tables.set_sees_udp_drain(sees=False)
            self._attachments.detach(hooks)
            return True
        refused = self._attachments.attach(hooks)
        if refused:
            log.warning("drains are seen by looks alone, within seconds: %s", "; ".join(refused.values()))
        return not refused

    def end_drained(self) -> bool:
        """End the episodes of queues that drained before hooks on demand were attached: their events come as always.

        A queue that was judged in the last milliseconds is left to the hooks. Return False where the kernel cannot
        do this: the next look at the sockets finds them.
        """
        is_done = self._can_look and all(
            self._run_look(entry.address, entry.socket.protocol, entry.direction, entry.since_ns)
            for entry in self.tables.open_episodes()
        )
        if UDP_DRAINS in self.on_demand:
            is_attached = all(hook in self._attachments for hook in self.on_demand[UDP_DRAINS])
            self.tables.set_sees_udp_drain(sees=is_done and is_attached)
        return is_done

    def _run_look(self, address: int, protocol: int = 0, direction: int = 0, since_ns: int = 0) -> bool:
        """Have the kernel look at one queue; False where it cannot: such programs are run from 5.10 on."""
        program = self._loaded.programs.get(LOOK_AT_QUEUE)
        if program is None:
            return False
        try:
            run_raw_tracepoint(program, address, protocol, direction, since_ns)
        except OSError as fault:
            log.debug("%s cannot be run: %s", LOOK_AT_QUEUE, fault.strerror)
            return False
        return True

    def fds(self) -> list[int]:
        """Return the descriptors that become readable when there are events."""
        return self._rings.fds()

    def read(self) -> Iterator[Event]:
        """Return the events that have come, without waiting; each is made as it is asked for."""
        taken = self._rings.read()
        self._counters.add("events", len(taken))
        return self._decoded(taken)

    def _decoded(self, taken: list[bytes]) -> Iterator[Event]:
        taken.reverse()
        while taken:  # a record is let go as its event is made
            raw = taken.pop()
            try:
                yield decode_told(raw)
            except ValueError:
                self._counters.add("undecodable")
                log.exception("an event of %d bytes makes no sense: %s", len(raw), raw.hex())

    def skipped(self) -> int:
        """Return how often the kernel skipped a hook since load, as the same was running on that CPU already."""
        with suppress(OSError):  # 4.12 and older cannot be asked
            return sum(skipped_runs(program) for program in self._loaded.programs.values())
        return 0

    def close(self) -> None:
        """Detach and unload everything; what cannot be detached goes with the process."""
        self._attachments.close()
        self._rings.close()
        self._loaded.close()
