# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which open episodes tell of one trouble: the conditions of a queue, both ends of a connection, queues of a service.

Pure. A row is an open episode with its `state` and with `ours`, whether it is to be trusted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sockbpf.record.blame import rank_of
from sockbpf.record.event import Direction
from sockbpf.record.facts import Severity
from sockbpf.record.why import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

RECV, SEND = Direction.RECV.name, Direction.SEND.name
OTHER = {SEND: RECV, RECV: SEND}
CRITICAL = Severity.CRITICAL.value
RANKS: dict[str, int] = {each.value: rank_of(each) for each in Cause}
"""How much a cause says that this end is to blame, by its word; 0 where the cause is not known."""
OF_THE_OTHER_END = 1
OF_THE_READER = 3


@dataclass(slots=True, eq=False)
class Queue:
    """A queue, or those that a folded alert counts, with its open episodes: one a condition, the worst first."""

    rows: list[Row]
    other_end: Queue | None = None
    """The queue at the other end of the connection, which this one leads."""

    @property
    def count(self) -> int:
        return max(row["count"] or 1 for row in self.rows)

    @property
    def drops(self) -> int:
        return max(row["drops"] or 0 for row in self.rows)


@dataclass(slots=True, eq=False)
class Trouble:
    """Queues that are over for one cause, the worst first, and those at their other ends."""

    queues: list[Queue]
    others: list[Queue] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """Return the episodes of all of them."""
        return [row for queue in (*self.queues, *self.others) for row in queue.rows]


def service_of(row: Row) -> tuple[str, str]:
    """Return whose queue it is, by the best name that is known, and what kind of name that is."""
    for kind, name in (("unit", row["unit"]), ("container", row["container"]), ("counter", row["name"])):
        if name:
            return kind, name
    if row["comm"]:
        return "process", row["comm"]
    return "port", f"{row['protocol'] or ''}:{row['local_port'] if row['local_port'] is not None else ''}"


def troubles_of(rows: Sequence[Row]) -> list[Trouble]:
    """Return what the rows tell of; each row is in one trouble."""
    if len(rows) == 1:  # as of most hosts of many
        return [Trouble([Queue(list(rows))])]
    groups: dict[tuple[Any, ...], list[Queue]] = defaultdict(list)
    # Of equals the same one leads, whichever was heard of last.
    in_order = sorted(rows, key=itemgetter("host", "id"))
    for queue in _that_lead(_queues_of(in_order)):
        worst = queue.rows[0]
        cause = worst["cause"] if rank(worst) else None
        groups[(*_place(worst), service_of(worst), worst["type"], cause)].append(queue)
    found = {}
    for key, queues in groups.items():
        queues.sort(key=lambda queue: badness(queue.rows[0]), reverse=True)
        found[key] = Trouble(queues, [queue.other_end for queue in queues if queue.other_end])
    _add_what_is_not_explained(found)
    return _without_other_ends(list(found.values()))


def _queues_of(rows: Iterable[Row]) -> list[Queue]:
    queues = []
    of_ends: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if _is_one_socket(row):
            of_ends[(*_place(row), row["type"], *_ends(row))].append(row)
        else:
            queues.append(Queue([row]))
    for some in of_ends.values():
        queues += _of_sockets(some)
    for queue in (queue for queue in queues if len(queue.rows) > 1):
        # An episode whose cause was found says why for all of the queue.
        queue.rows.sort(key=lambda row: (rank(row) > 0, *badness(row)), reverse=True)
    return queues


def _of_sockets(rows: list[Row]) -> list[Queue]:
    """Return the queues of sockets with the same addresses: more than one where they share a port, as listeners may.

    A queue has one episode of a condition.
    """
    pids = {row["pid"] for row in rows if row["pid"]}
    queues: dict[tuple[Any, ...], Queue] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in sorted(rows, key=lambda row: row["id"]):
        socket = row["pid"] if len(pids) > 1 else None
        place = seen[socket, row["condition"]]
        seen[socket, row["condition"]] += 1
        queues.setdefault((socket, place), Queue([])).rows.append(row)
    return list(queues.values())


def _place(row: Row) -> tuple[Any, ...]:
    return row["host"], row["state"], row["ours"]


def _is_one_socket(row: Row) -> bool:
    return (row["count"] or 1) == 1 and row["local_ip"] is not None and row["type"] != Direction.RATE.name


def _ends(row: Row) -> tuple[Any, ...]:
    local, remote = (row["local_ip"], row["local_port"]), (row["remote_ip"], row["remote_port"])
    return row["netns"], row["protocol"], local, remote


def _that_lead(queues: list[Queue]) -> list[Queue]:
    """Return the queues without those that follow: of both ends of a connection one leads."""
    by_ends = {
        (*_place(queue.rows[0]), queue.rows[0]["type"], *_ends(queue.rows[0])): queue
        for queue in queues
        if queue.rows[0]["remote_port"]
    }
    by_id = {(*_place(row), row["id"]): queue for queue in queues for row in queue.rows}
    followers: set[int] = set()
    for queue in queues:
        other = _other_end(queue, by_ends, by_id)
        if other is None or queue.other_end or other.other_end or {id(queue), id(other)} & followers:
            continue
        leader, follower = (queue, other) if _blame(queue) >= _blame(other) else (other, queue)
        leader.other_end = follower
        followers.add(id(follower))
    return [queue for queue in queues if id(queue) not in followers]


def _other_end(
    queue: Queue, by_ends: Mapping[tuple[Any, ...], Queue], by_id: Mapping[tuple[Any, ...], Queue]
) -> Queue | None:
    """Return the queue at the other end, if that is known to be over too: by its id, else by its addresses."""
    worst = queue.rows[0]
    wanted = OTHER.get(worst["type"])
    for row in queue.rows:
        found = by_id.get((*_place(row), row["peer_id"])) if row["peer_id"] else None
        if found and found.rows[0]["type"] == wanted:
            return found
    netns, protocol, local, remote = _ends(worst)
    return (
        by_ends.get((*_place(worst), wanted, netns, protocol, remote, local))
        if _is_one_socket(worst)
        else None
    )


def rank(row: Row) -> int:
    """Return how much its cause says that an end is to blame: record/blame.py; 0 where the cause is not known."""
    return RANKS.get(row["cause"] or "", 0)


def _blame(queue: Queue) -> tuple[int, bool]:
    """Return how much a queue's own end is to blame; of two that are equally to blame the one that receives is."""
    return rank(queue.rows[0]), queue.rows[0]["type"] == RECV


def badness(row: Row) -> tuple[bool, float, int]:
    """Return how bad a queue is: by severity, then by how many times its threshold it holds."""
    return row["severity"] == CRITICAL, row["size"] / max(row["threshold"], 1), row["size"]


def _add_what_is_not_explained(found: dict[tuple[Any, ...], Trouble]) -> None:
    """Count queues without a known cause, as those of a folded alert, with the others of their service.

    If these have several causes, with those of the most common one.
    """
    explained: dict[tuple[Any, ...], Trouble] = {}
    for (*about, cause), trouble in found.items():
        best = explained.get(tuple(about))
        if cause and (best is None or len(trouble.queues) > len(best.queues)):
            explained[tuple(about)] = trouble
    for key in [key for key in found if not key[-1] and key[:-1] in explained]:
        rest = found.pop(key)
        explained[key[:-1]].queues += rest.queues
        explained[key[:-1]].others += rest.others


def _without_other_ends(troubles: list[Trouble]) -> list[Trouble]:
    """Have what only waits for a process that is to blame follow the trouble of that process."""
    of_readers: dict[tuple[Any, ...], Trouble] = {}
    for trouble in troubles:
        worst = trouble.queues[0].rows[0]
        if rank(worst) == OF_THE_READER and worst["pid"]:
            of_readers.setdefault((*_place(worst), worst["type"], worst["pid"]), trouble)
    return [rest for trouble in troubles if (rest := _without_what_waits(trouble, of_readers)).queues]


def _without_what_waits(trouble: Trouble, of_readers: Mapping[tuple[Any, ...], Trouble]) -> Trouble:
    """Return what is left of a trouble when each queue that waits for one of these processes is with its trouble.

    Where all of them that are told one by one go to one process, so do the others, of folded alerts.
    """
    if rank(trouble.queues[0].rows[0]) > OF_THE_OTHER_END:
        return trouble
    leaders = [_reader_of(queue, of_readers) for queue in trouble.queues]
    single = {id(leader) for queue, leader in zip(trouble.queues, leaders, strict=True) if queue.count == 1}
    if len(single) == 1:
        only = next((leader for leader in leaders if leader), None)
        leaders = [
            leader or (only if queue.count > 1 else None)
            for queue, leader in zip(trouble.queues, leaders, strict=True)
        ]
    left = Trouble([])
    for queue, leader in zip(trouble.queues, leaders, strict=True):
        others = [queue.other_end] if queue.other_end else []
        if leader:
            leader.others += [queue, *others]
        else:
            left.queues.append(queue)
            left.others += others
    return left


def _reader_of(queue: Queue, of_readers: Mapping[tuple[Any, ...], Trouble]) -> Trouble | None:
    for row in queue.rows:
        leader = of_readers.get((*_place(row), OTHER.get(row["type"]), row["peer_pid"]))
        if leader and row["peer_pid"]:
            return leader
    return None
