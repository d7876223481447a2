# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Both ends of a connection within this host are one incident: who is told incidents hears of the pair once.

Pure: no I/O, no clock. The queue to send at one end and the queue to receive at the other are one incident, by
`peer_id` of their alerts. The end that is the cause leads: a reader that is stopped, not the sender that waits.
Alerts of the other end are held back. If it was told before it was known to follow, the end that leads is told too.

Two kinds of destinations are told incidents. One gets messages, which people read: there the incident has one end,
when both of its ends are over no more. The other keeps what is over: there each end that was told is told to its end,
and both are told as long as neither is known to be the cause.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED, Folded, Notice
from sockbpf.record.blame import rank_of
from sockbpf.record.event import Direction
from sockbpf.record.why import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MOST_ENDS = 2048
"""Open episodes that are remembered; of more, the oldest are forgotten and told each by itself."""

ENDS = frozenset({Direction.SEND.name, Direction.RECV.name})


class Told(Enum):
    """What a destination is told of the two ends of a connection within the host."""

    MESSAGES = "messages"
    STATES = "states"


@dataclass(slots=True)
class _End:
    """An open episode at one end."""

    type: str
    rank: int = 0
    """The highest that it had so far."""
    speaks: bool = False
    """Whether its alerts are told."""
    is_told: bool = False
    """Whether one was."""
    ends_incident: bool = False
    """Whether its end is that of an incident of which the other end, over no more, was told."""
    peer: str = ""
    """Id of the episode at the other end."""


class Incidents:
    """Says which alerts one destination is told. For one thread."""

    def __init__(self, told: Told, held_back: Callable[[], None]) -> None:
        """`held_back` is called for each alert that is not told."""
        self._once = told is Told.MESSAGES
        self._held_back = held_back
        self._ends: OrderedDict[str, _End] = OrderedDict()

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._ends)

    def tells(self, fields: Mapping[str, str]) -> bool:
        """Tell whether the destination is told this alert. To be asked once for each, in their order."""
        if fields["event"] not in EVENTS or fields["type"] not in ENDS or "count" in fields:
            return True
        is_told = self._ended(fields["id"]) if fields["event"] == CLEARED else self._goes_on(fields)
        if not is_told:
            self._held_back()
        return is_told

    def _goes_on(self, fields: Mapping[str, str]) -> bool:
        end = self._noted(fields)
        other = self._ends.get(end.peer)
        if other is None or not other.speaks:
            end.speaks = True
        elif self._once:
            leads = end.rank >= other.rank if end.speaks else end.rank > other.rank
            end.speaks, other.speaks = leads, not leads
        else:  # of two ends that are alike one may be over long after the other
            end.speaks = end.speaks or end.rank >= other.rank
        end.is_told = end.is_told or end.speaks
        return end.speaks

    def _noted(self, fields: Mapping[str, str]) -> _End:
        id_, peer = fields["id"], fields.get("peer_id", "")
        if id_ not in self._ends and len(self._ends) >= MOST_ENDS:
            self._ends.popitem(last=False)
        end = self._ends.setdefault(id_, _End(fields["type"]))
        end.rank = max(end.rank, rank_of(Cause(fields.get("cause", Cause.UNKNOWN.value))))
        other = self._ends.get(peer)
        if other and other.type != end.type and end.peer != peer:
            for one, its in ((end, id_), (other, peer)):
                before = self._ends.get(one.peer)
                if before and before.peer == its:
                    before.peer = ""
            end.peer, other.peer = peer, id_
        return end

    def _ended(self, id_: str) -> bool:
        end = self._ends.pop(id_, None)
        if end is None:
            return True
        other = self._ends.get(end.peer)
        if other:
            other.peer = ""
        if not self._once:
            return end.speaks
        is_told = end.is_told or end.ends_incident
        if other:  # the incident lasts until that one ends too
            other.ends_incident = other.ends_incident or is_told
            return False
        return is_told


def led(notices: Sequence[Notice | Folded]) -> list[Notice | Folded]:
    """Return the notices with an end that leads before the other one where both begin, and after it where both end.

    So it speaks from the beginning to the end. What begins is moved to the front alone, what ends to the back, so
    that the notices of each episode keep their order.
    """
    moved, beside = set[int](), dict[int, int]()
    """The places of what is moved; place of a notice -> place of the one that is to stand beside it."""
    for event in (EXCEEDED, CLEARED):
        places = {
            one.id: place
            for place, one in enumerate(notices)
            if isinstance(one, Notice) and one.event == event and one.direction.name in ENDS
        }
        for place in places.values():
            one = notices[place]
            other = places.get(one.peer.id, place) if isinstance(one, Notice) and one.peer else place
            is_late = other < place if event == EXCEEDED else other > place
            if is_late and other not in beside and _leads(one, notices[other]):
                beside[other] = place
                moved.add(place)

    def with_beside(place: int) -> Iterator[int]:
        """Yield the place and those that are to stand beside it: not many, each leads over the one before."""
        chain = [place]
        while chain[-1] in beside:
            chain.append(beside[chain[-1]])
        one = notices[place]
        return reversed(chain) if isinstance(one, Notice) and one.event == EXCEEDED else iter(chain)

    order = [each for place in range(len(notices)) if place not in moved for each in with_beside(place)]
    return [notices[place] for place in order]


def _leads(one: Notice | Folded, other: Notice | Folded) -> bool:
    if isinstance(one, Folded) or isinstance(other, Folded) or one.direction is other.direction:
        return False
    ranks = [rank_of(each.why.cause) if each.why else 0 for each in (one, other)]
    return ranks[0] > ranks[1]
