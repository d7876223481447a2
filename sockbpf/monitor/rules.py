# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The rules in the running monitor: given to the kernel side, judged by here, and what only user space can say.

A queue over the least threshold that it may have, of a socket whose process or cgroup is not known, is UNSURE to the
kernel side. It is found out here and written down, so that from then on the kernel side decides alone; the episode
becomes one of the policy's or goes, by its own threshold. A kernel side that cannot match rules asks for each socket.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.judge.levels import Levels
from sockbpf.judge.rulebook import Rulebook
from sockbpf.kernel.attach.answers import Answers
from sockbpf.kernel.attach.ruleset import ASK_CGROUP, ASK_INODE, ruleset_of
from sockbpf.kernel.look.whose import named_namespaces
from sockbpf.monitor.found_out import FoundOut
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.monitor.terms import NEVER, decision_of, kernel_levels_of
from sockbpf.record.event import What

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sockbpf.counters import Counters
    from sockbpf.kernel.attach.tables import Tables
    from sockbpf.kernel.look.owner import Owners
    from sockbpf.record.alert import Notice
    from sockbpf.record.event import Direction, Event, Socket
    from sockbpf.record.rule import StallSettings, Who
    from sockbpf.settings.config import Config

NAMED = 7
"""So many rules are named where this kernel can judge by none."""

WAITING = Levels(*NEVER, hold_ns=0, repeat_ns=0)
"""The levels of a queue of which it is not known which rule applies."""

PATIENCE_NS = 3 * 10**9
"""So long whose a socket is may stay unknown; then it is judged as one of no known process and no known cgroup."""


def no_rules(names: Sequence[str]) -> str:
    """Return why rules are refused, with their names, and the remedy."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"this kernel refuses programs that judge by rules: {', '.join(names[:NAMED])}{more}. "
        "Remedy: no rules, or `kernel: {hooks: none}` to poll"
    )


class Rules:
    """Begins without rules; `use` takes those of the settings."""

    def __init__(self, config: Config, owners: Owners, tables: Tables | None, counters: Counters) -> None:
        """`tables` are those of the hooks; None where there are no hooks."""
        self._tables = tables
        self._counters = counters
        written = tables.rules if tables else None
        self._answers = written if isinstance(written, Answers) else None
        """Where the kernel side cannot match rules: what it is told of each socket that it asks for."""
        self._found_out = FoundOut(owners, None if isinstance(written, Answers) else written)
        self._config = config
        self.book = Rulebook((), decision_of(config), self._found_out.who, {})
        self._number = 0
        """The number by which the kernel side judges by the rules of the book; 0: it has none."""
        self._before = (0, self.book)
        """The number and the book before this one: events that are read now may have been judged by it."""
        self._unsure: dict[tuple[int, Direction, int], Socket] = {}
        """Episodes that user space has to decide: address, direction, beginning -> the socket."""

    def levels_of(self, socket: Socket, direction: Direction) -> Levels:
        """Return the levels of this queue: a LevelsOf. No sweep begins an episode while one of the hooks waits."""
        if self._unsure and (direction, socket) in {(key[1], each) for key, each in self._unsure.items()}:
            return WAITING
        return self.book.levels_of(socket, direction)

    def levels_of_event(self, event: Event) -> Levels:
        """Return the levels of the episode that an event of the hooks begins, of the rule that it was judged by.

        Its hold and its clear level are of the rules that apply now, as those of every open episode are.
        """
        levels = self.levels_of(event.socket, event.direction)
        for number, book in ((self._number, self.book), self._before):
            if event.rules == number:
                applied = book.applied(event.rule)
                return levels if applied == levels.applied else replace(levels, applied=applied)
        return levels

    def stalled_of(self, socket: Socket, direction: Direction) -> StallSettings:
        """Return when this queue is stalled."""
        return self.book.stalled_of(socket, direction)

    def who(self, socket: Socket) -> Who:
        """Return whose a socket is, as far as it is known."""
        return self._found_out.who(socket)[0]

    def named(self, notices: Iterable[Notice]) -> list[Notice]:
        """Return the notices of judges without rules that no rule ignores, each with what goes with its rule."""
        named = map(self.book.named, notices)
        return [notice for notice in named if notice]

    @property
    def waits(self) -> bool:
        """Whether an episode is open of which it is not known which rule applies."""
        return bool(self._unsure)

    def use(self, config: Config) -> None:
        """Take the rules and the levels of these settings: from one moment on the kernel side judges by them.

        Raise UnsupportedError if it cannot judge by such rules.
        """
        rules, otherwise, namespaces = rules_of(config), decision_of(config), named_namespaces()
        book = Rulebook(rules, otherwise, self._found_out.who, namespaces)
        number = 0
        if self._tables:
            number = self._give(self._tables, config, book)
        else:
            self._found_out.use(rules, ASK_INODE | ASK_CGROUP)
        self._before = self._number, self.book
        self.book, self._number, self._config = book, number, config

    def _give(self, tables: Tables, config: Config, book: Rulebook) -> int:
        """Have the kernel side judge by these rules and levels, and return the number of the rules."""
        levels = kernel_levels_of(config)
        if not book.rules:
            self._found_out.use((), 0)
            tables.set_levels(levels)
            return 0
        if tables.rules is None:
            raise UnsupportedError(no_rules([rule.decision.applied.rule for rule in book.rules]))
        made = ruleset_of(
            book.rules,
            book.otherwise,
            namespaces=book.namespaces,
            cgroup_by_process=self._found_out.cgroup_by_process,
        )
        number = tables.rules.prepare(made)
        self._found_out.use(book.rules, made.ask)
        tables.set_levels(replace(levels, gate=made.gate, gate_fill=made.gate_fill, rules=number))
        return number

    def refresh(self) -> bool:
        """Take the names of network namespaces anew; return whether that changed what the rules mean."""
        asks_names = any(isinstance(one, str) for rule in self.book.rules for one in rule.match.netns)
        if not asks_names or named_namespaces() == self.book.namespaces:
            return False
        self.use(self._config)
        return True

    def seek(self, events: Iterable[Event]) -> None:
        """Search for whose the sockets of these events are, of those that have to be decided, before they are."""
        unsure = [event.socket for event in events if event.what in {What.UNSURE, What.UNSURE_BACK}]
        if unsure:
            self._found_out.seek(unsure)

    def decided(self, event: Event) -> list[Event]:
        """Return what an event of the hooks is to the policy: itself, or, of an UNSURE, what is found out now."""
        if event.what is What.UNSURE_BACK:
            self._unsure.pop(_key(event), None)
            levels = self.book.levels_of(event.socket, event.direction)
            return [self._ended(event, levels)] if levels.is_over(event.peak, event.facts) else []
        if event.what is not What.UNSURE:
            return [event]
        return self._decide(event, event.ns)

    def sure(self, entries: Iterable[Event], now_ns: int) -> tuple[list[Event], list[Event]]:
        """Divide the kernel's table of open episodes: what is sure by now, the events of what just became so."""
        entries = list(entries)
        self.seek(entries)
        sure: list[Event] = []
        new: list[Event] = []
        unsure = set()
        for entry in entries:
            if entry.what is not What.UNSURE:
                sure.append(entry)
                continue
            unsure.add(_key(entry))
            new += self._decide(entry, now_ns)
        for key in self._unsure.keys() - unsure:
            del self._unsure[key]
        return sure + [event for event in new if event.what is What.OVER], new

    def _decide(self, event: Event, now_ns: int) -> list[Event]:
        """Find out whose the socket is; return the event by which its episode is the policy's, if it is over."""
        assert self._tables  # noqa: S101  there are events
        is_known = self._found_out.is_known(event.socket)
        is_new = now_ns - event.since_ns < PATIENCE_NS
        if not is_known and is_new:
            self._unsure[_key(event)] = event.socket
            return []
        self._unsure.pop(_key(event), None)
        if not is_known:
            self._found_out.give_up(event.socket)
        elif self._answers and event.socket.inode:
            place = self.book.place_of(event.socket, event.direction)
            self._answers.give(event.socket, event.direction, place)
        levels = self.book.levels_of(event.socket, event.direction)
        entry = self._tables.unsure(event)
        if entry is None:  # the kernel side was first: its event says the rest
            return []
        if levels.is_over(entry.size, entry.facts):
            sure = self._begun(entry, levels)
            return [sure] if self._tables.make_sure(sure) else []
        if self._answers and not event.socket.inode and is_new:  # the next packet would ask again
            self._unsure[_key(event)] = event.socket
            return []
        if self._tables.reap(entry.address, entry.direction):
            self._counters.add("unsure_dropped")
            if levels.is_over(entry.peak, entry.facts):
                return [self._ended(entry, levels)]
        return []

    def _begun(self, entry: Event, levels: Levels) -> Event:
        return replace(
            entry,
            what=What.OVER,
            threshold=levels.in_bytes(entry.facts),
            condition=levels.condition,
            since_size=max(entry.since_size, entry.size),
            rules=self._number,
            rule=self.book.place_of(entry.socket, entry.direction),
        )

    def _ended(self, entry: Event, levels: Levels) -> Event:
        return replace(self._begun(entry, levels), what=What.BACK, since_size=entry.peak)


def _key(event: Event) -> tuple[int, Direction, int]:
    return event.address, event.direction, event.since_ns
