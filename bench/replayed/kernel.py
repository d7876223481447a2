# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A record in the place of the kernel: what the hooks report of it, what looks at all sockets show of it.

A queue is judged here as bpf/episode.h does it, at each change; which rule applies, sockbpf/judge/rules.py says, to
which tests hold the kernel side. Whose sockets are is known at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.replayed.record import NETNS, Service, merged
from bench.replayed.state import State, listener_row
from sockbpf.judge.rules import first_match
from sockbpf.kernel.attach.ruleset import Ruleset
from sockbpf.kernel.attach.tables import KernelLevels, Tally
from sockbpf.kernel.look.glance import Glance
from sockbpf.kernel.look.packed import handed_rows
from sockbpf.kernel.look.row import Terms
from sockbpf.kernel.look.sweep import Wanted
from sockbpf.record.event import Direction, Event, Mode, Protocol, Socket, What
from sockbpf.record.rule import Decision, Rule, Who
from sockbpf.record.sweep import Sweep

NOBODY = (0, "")


class Rules:
    """The tables of the rules."""

    def __init__(self) -> None:
        self.decisions: Sequence[Decision] = ()

    def prepare(self, made: Ruleset) -> int:
        self.decisions = made.decisions
        return 1

    def find_out(self, _about: int, _value: int, _rules: int) -> None:
        """Whose a socket is, is known."""


class Kernel:
    """Plays a record up to an instant, and is what the monitor has for probes and their tables."""

    def __init__(
        self,
        services: Sequence[Service],
        rules: Sequence[Rule],
        begins_ns: int,
        path_of: Callable[[int], str],
    ) -> None:
        """`begins_ns` is the instant at which the record begins; `path_of` returns the path of a cgroup."""
        queues, self._changes = merged(services)
        self._states = [State(queue, place + 1) for place, queue in enumerate(queues)]
        self._by_inode = {state.queue.socket.inode: state for state in self._states}
        self._full: dict[int, State] = {}
        self._open: dict[int, State] = {}
        self._listeners = [listener_row(each) for each in services if each.kind[0] == "tcp"]
        self._rule_list = rules
        self._path_of = path_of
        self._begins_ns = begins_ns
        self._next = 0
        self._now_ns = begins_ns
        self._events: list[Event] = []
        self._levels: KernelLevels | None = None
        # As probes and tables have them:
        self.tables = self
        self.rules = Rules()
        self.sights = ()
        self.on_demand: dict[str, object] = {}

    # the record

    def next_ns(self) -> int | None:
        """Return the instant of the next change; None behind the last one."""
        return self._begins_ns + self._changes[self._next][0] if self._next < len(self._changes) else None

    def play(self, until_ns: int) -> None:
        """Go on to this instant."""
        while (ns := self.next_ns()) is not None and ns <= until_ns:
            _, place, size, stands = self._changes[self._next]
            self._next += 1
            self._change(self._states[place], ns, size, stands=stands)
        self._now_ns = until_ns

    @property
    def holds_anything(self) -> bool:
        return bool(self._full)

    def _change(self, state: State, ns: int, size: int, *, stands: bool) -> None:
        state.size, state.ns = size, ns
        state.stands_ns = (state.stands_ns or ns) if stands else None
        if size:
            self._full[state.address] = state
        else:
            self._full.pop(state.address, None)
        threshold, clear, _ = state.levels or self._judged_by(state)
        if state.since_ns is not None:
            state.peak = max(state.peak, size)
            if size <= clear:
                del self._open[state.address]
                self._events.append(self._event(What.BACK, state, state.since_ns))
                state.since_ns = None
        elif size > threshold:
            state.since_ns, state.since_size, state.peak = ns, size, size
            self._open[state.address] = state
            self._events.append(self._event(What.OVER, state, ns))

    def _judged_by(self, state: State) -> tuple[int, int, int]:
        assert self._levels
        queue = state.queue
        if not self._levels.rules:
            levels = self._levels
            assert not levels.fill[queue.direction], "a share of a buffer is in no record"
            state.levels = levels.threshold[queue.direction], levels.clear[queue.direction], 0
            return state.levels
        who = Who(queue.comm, self._path_of(queue.socket.cgroup) if queue.socket.cgroup else "")
        found = first_match(self._rule_list, queue.socket, queue.direction, lambda _: who)
        place = 0 if found is None else found + 1
        decision = self.rules.decisions[place]
        state.levels = decision.threshold[queue.direction], decision.clear[queue.direction], place
        return state.levels

    def _event(self, what: What, state: State, since_ns: int) -> Event:
        threshold, _, place = state.levels or self._judged_by(state)
        return Event(
            what=what,
            mode=Mode.EBPF,
            direction=state.queue.direction,
            socket=state.queue.socket,
            address=state.address,
            ns=state.ns,
            since_ns=since_ns,
            size=state.size,
            since_size=state.since_size,
            peak=state.peak,
            threshold=threshold,
            pid=0,
            comm="",
            facts=state.facts,
            rules=self._levels.rules if self._levels else 0,
            rule=place,
        )

    # what the hooks report, and the tables

    def read(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

    def fds(self) -> list[int]:
        return []

    def end_drained(self) -> bool:
        return True

    def skipped(self) -> int:
        return 0

    def close(self) -> None:
        """There is nothing to detach."""

    def set_levels(self, levels: KernelLevels) -> None:
        self._levels = levels
        for state in self._states:
            state.levels = None

    def set_lookers(self, *_: int) -> None:
        """No thread of this process looks at sockets."""

    def tally(self) -> Tally:
        return Tally(*(0,) * 9)

    def open_episodes(self) -> list[Event]:
        return [
            self._event(What.OVER, state, state.since_ns)
            for state in self._open.values()
            if state.since_ns is not None
        ]

    def reap(self, address: int, _direction: Direction) -> bool:
        state = self._open.pop(address, None)
        if state:
            state.since_ns = None
        return state is not None

    def own_inodes(self) -> frozenset[int]:
        return frozenset()

    def is_own(self, _inode: int) -> bool:
        return False

    def forget_own(self, _inodes: Iterable[int]) -> None:
        """None is marked."""

    # what looks show

    def sweep(self, wanted: Wanted) -> Sweep:
        readings = tuple(
            state.reading(self._now_ns)
            for state in self._worth_a_look(wanted.terms)
            if wanted.terms.take(*state.sizes, state.queue.socket.inode)
        )
        looked = frozenset((NETNS, protocol) for protocol in Protocol)
        return Sweep(self._now_ns, self._now_ns, looked, frozenset(), readings)

    def _worth_a_look(self, terms: Terms) -> Iterator[State]:
        yield from self._full.values()
        asked = (self._by_inode.get(inode) for inode in terms.inodes)
        yield from (state for state in asked if state and not state.size)

    def glance(self, *_: object, **__: object) -> Glance:
        """Return what a look for the history shows."""
        handed = [
            (
                NETNS,
                protocol,
                handed_rows([each.row() for each in self._full.values() if each.is_of(protocol)]),
            )
            for protocol in Protocol
        ]
        return Glance(handed, [(NETNS, row) for row in self._listeners])

    # whose sockets are

    def owner(self, inode: int) -> tuple[int, str]:
        state = self._by_inode.get(inode)
        return (state.queue.pid, state.queue.comm) if state else NOBODY

    known = owner

    def may_be_held(self, inode: int, _since_ns: int) -> bool:
        return inode in self._by_inode

    def seek(self, _inodes: set[int]) -> None:
        """All are known."""


class Sweeps:
    """Looks at the sockets of a record, when it is asked."""

    thread = 0
    busy = False

    def __init__(self, kernel: Kernel, on_done: Callable[[], None]) -> None:
        self._kernel = kernel
        self._on_done = on_done
        self._done: Sweep | None = None

    def ask(self, wanted: Wanted) -> None:
        self.busy, self._done = True, self._kernel.sweep(wanted)
        self._on_done()

    def take(self) -> Sweep | None:
        done, self._done = self._done, None
        self.busy = self.busy and done is None
        return done

    def between(self, look: Callable[[Callable[[], None]], None]) -> None:
        look(lambda: None)

    def stop(self) -> None:
        """Do nothing: it has no thread."""


class NoCloseLook:
    """A record has nothing more of a socket than its queue."""

    def look(self, _socket: Socket, _pid: int = 0, **_: int) -> None:
        return None

    def close(self) -> None:
        """Nothing is open."""
