# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The rules that apply now, and the levels of each queue by them. Pure: what is asked of the host is an argument."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.judge.levels import Levels, severity_of
from sockbpf.judge.rules import first_match
from sockbpf.record.rule import NO_RULE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from sockbpf.record.alert import Notice
    from sockbpf.record.event import Direction, Socket
    from sockbpf.record.rule import Applied, Decision, Rule, StallSettings, Who

    class WhoOf(Protocol):
        """Says whose a socket is."""

        def __call__(self, socket: Socket) -> tuple[Who, bool]:
            """Return it as far as it is known, and whether it can be remembered."""


MOST = 65_536
"""So many queues' levels are remembered."""


class Rulebook:
    """One list of rules, with what is decided where none applies."""

    def __init__(
        self,
        rules: Sequence[Rule],
        otherwise: Decision,
        who_of: WhoOf,
        namespaces: Mapping[str, int],
    ) -> None:
        """`namespaces` are the inode numbers of the named network namespaces."""
        self.rules = rules
        self.otherwise = otherwise
        self.namespaces = namespaces
        self._who_of = who_of
        self._levels = [
            (_levels(decision, 0), _levels(decision, 1))
            for decision in (otherwise, *(rule.decision for rule in rules))
        ]
        self._known: dict[tuple[Socket, Direction], int] = {}

    def levels_of(self, socket: Socket, direction: Direction) -> Levels:
        """Return the levels of this queue: a LevelsOf."""
        return self._levels[self.place_of(socket, direction) if self.rules else 0][direction]

    @property
    def of_others(self) -> tuple[Levels, Levels]:
        """The levels to send and to receive where no rule applies."""
        return self._levels[0]

    def applied(self, place: int) -> Applied:
        """Return what goes with the alerts of the rule at this place, from 1; 0: of none."""
        return self.rules[place - 1].decision.applied if 0 < place <= len(self.rules) else NO_RULE

    def stalled_of(self, socket: Socket, direction: Direction) -> StallSettings:
        """Return when this queue is stalled."""
        place = self.place_of(socket, direction) if self.rules else 0
        return (self.rules[place - 1].decision if place else self.otherwise).stalled

    def named(self, notice: Notice) -> Notice | None:
        """Return a notice of a socket as its rule says, levels apart; None if the rule ignores it.

        A rate is no socket's, and stays as it is.
        """
        place = self.place_of(notice.socket, notice.direction) if self.rules and notice.socket else 0
        if not place:
            return notice
        applied = self.rules[place - 1].decision.applied
        if applied.ignores:
            return None
        severity = severity_of(applied, notice.condition, notice.severity)
        return replace(notice, applied=applied, severity=severity)

    def place_of(self, socket: Socket, direction: Direction) -> int:
        """Return the place of the rule that applies, from 1; 0 if none does."""
        known = self._known.get((socket, direction))
        if known is not None:
            return known
        lasts = True

        def who_of(asked: Socket) -> Who:
            nonlocal lasts
            who, lasts = self._who_of(asked)
            return who

        found = first_match(self.rules, socket, direction, who_of, self.names)
        place = 0 if found is None else found + 1
        if lasts and socket.inode:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[socket, direction] = place
        return place

    def names(self, netns: int) -> list[str]:
        """Return the names of a network namespace."""
        return [name for name, number in self.namespaces.items() if number == netns]

    def least_over(self) -> tuple[int, int]:
        """Return the least sizes, bytes, that may be over, SEND and RECV."""
        decisions = (self.otherwise, *(rule.decision for rule in self.rules))
        send, recv = (min(decision.threshold[place] for decision in decisions) for place in (0, 1))
        return send, recv


def _levels(decision: Decision, direction: int) -> Levels:
    of_buffer = decision.fill[direction] > 0
    return Levels(
        (decision.fill if of_buffer else decision.threshold)[direction],
        (decision.clear_fill if of_buffer else decision.clear)[direction],
        decision.hold_ns,
        decision.repeat_ns,
        of_buffer,
        decision.applied,
    )
