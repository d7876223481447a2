# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The journal's lines: each says what it is, how long it is, and proves by a checksum that it is whole.

    owed <tab> bytes <tab> checksum <tab> {"n":7,"destination":…} <tab> {"timestamp":…} <newline>
    last <tab> bytes <tab> checksum <tab> {"seq":9,"n":7} <newline>
    gone <tab> bytes <tab> checksum <tab> [5,6] <newline>

`owed` is an alert that a destination is owed, `gone` tells the `n` of those that are not owed any more, `last` the
numbers that were given last. Their order means nothing. A tab or a newline inside of JSON is escaped: nobody can
forge a line by what a process is called. Whatever happened to the rest of a file, a line that is whole is found.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.delivery.owed import MAX_BODY, Owed, head_of, owed_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE, OWED, LAST, GONE = b"file", b"owed", b"last", b"gone"
KINDS = (FILE, OWED, LAST, GONE)
BROKEN = b""
"""The kind of what is no line."""

BEGIN = re.compile(rb"(file|owed|last|gone)\t([0-9]{1,6})\t([0-9a-f]{32})\t")

LONGEST_BEGIN = 4 + 1 + 6 + 1 + 32 + 1

MAX_BYTES = MAX_BODY + 4096
"""Of what stands behind a checksum."""

GONE_IN_LINE = 100
"""So few that a damaged line sends no more than these again."""

HEAD_BYTES = 160
"""About as many bytes of an alert's line stand before its body."""

EDITION = b'{"journal":"sockbpf","edition":2}'


@dataclass(slots=True)
class Found:
    """What a journal's bytes say. `broken` are the pieces that are no whole line, without what a kill cut short."""

    owed: dict[int, Owed] = field(default_factory=dict)
    """By `n`, ascending."""

    last_seq: int = 0
    last_n: int = 0
    lines: int = 0
    of_another_edition: bool = False
    broken: list[bytes] = field(default_factory=list)
    whole_bytes: int = 0
    """Where the cut begins, or the end."""

    @property
    def lost(self) -> int:
        """Return how many alerts can be told to have been in the broken pieces, at least one for each."""
        return sum(max(1, piece.count(b"owed\t")) for piece in self.broken)


def _checksum(kind: bytes, text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16, person=kind).hexdigest().encode()


def line(kind: bytes, text: bytes) -> bytes:
    return b"%b\t%d\t%b\t%b\n" % (kind, len(text), _checksum(kind, text), text)


def first_line() -> bytes:
    return line(FILE, EDITION)


def owed_line(owed: Owed) -> bytes:
    return line(OWED, b"%b\t%b" % (_json(head_of(owed)), owed.body.encode()))


def line_bytes(owed: Owed) -> int:
    """Return about how many bytes the line of this alert has."""
    return len(owed.body) + HEAD_BYTES


def number_past(seq: int) -> int:
    """Return a `seq` that is past all that may have been lost: no number comes twice, and the gap is seen.

    It is the time in milliseconds since 1970, or `seq` where that is more.
    """
    return max(seq, time.time_ns() // 10**6)


def last_line(seq: int, n: int) -> bytes:
    return line(LAST, _json({"seq": seq, "n": n}))


def gone_lines(numbers: list[int]) -> Iterator[bytes]:
    parts = (numbers[at : at + GONE_IN_LINE] for at in range(0, len(numbers), GONE_IN_LINE))
    return (line(GONE, _json(part)) for part in parts)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def pieces(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield what the bytes are made of, in order: the kind of each whole line and where its text begins and ends.

    What lies between lines comes as BROKEN. The newline is not needed: the line says how long it is.
    """
    at = whole = 0
    while found := BEGIN.search(data, at):
        kind, begin = found[1], found.end()
        end = begin + int(found[2])
        if int(found[2]) > MAX_BYTES or found[3] != _checksum(kind, data[begin:end]):
            at = found.start() + 1
            continue
        if found.start() > whole:
            yield BROKEN, whole, found.start()
        yield kind, begin, end
        at = whole = end + (data[end : end + 1] == b"\n")
    if whole < len(data):
        yield BROKEN, whole, len(data)


def read(data: bytes) -> Found:
    """Return all that whole lines say."""
    found = Found(whole_bytes=len(data))
    owed: dict[int, Owed] = {}
    gone: set[int] = set()
    for kind, begin, end in pieces(data):
        text = data[begin:end]
        if kind is BROKEN:
            if end == len(data) and _is_cut_short(data, begin):
                found.whole_bytes = begin
            elif end - begin > 1:  # one byte is a line's newline, which was not needed
                found.broken.append(text)
            continue
        found.lines += 1
        try:
            _take(kind, text, found, owed, gone)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            found.broken.append(text)
    found.owed = {n: owed[n] for n in sorted(owed) if n not in gone}
    return found


def _is_cut_short(data: bytes, begin: int) -> bool:
    """Whether what begins there is a line that was being written when the monitor was killed."""
    if begin and data[begin - 1 : begin] != b"\n":
        return False
    left = data[begin : begin + MAX_BYTES + LONGEST_BEGIN]
    if found := BEGIN.match(left):
        return len(left) < found.end() + int(found[2])
    return len(left) < LONGEST_BEGIN and any(kind.startswith(left[: len(kind)]) for kind in KINDS)


def _take(kind: bytes, text: bytes, found: Found, owed: dict[int, Owed], gone: set[int]) -> None:
    if kind == OWED:
        head, _, body = text.decode().partition("\t")
        one = owed_of(json.loads(head), body)
        owed[one.n] = one
        _last(found, int(one.fields["seq"]), one.n)
    elif kind == GONE:
        numbers = [int(n) for n in json.loads(text)]
        gone.update(numbers)
        _last(found, 0, max(numbers, default=0))
    elif kind == LAST:
        said = json.loads(text)
        _last(found, int(said["seq"]), int(said["n"]))
    else:
        found.of_another_edition = found.of_another_edition or text != EDITION


def _last(found: Found, seq: int, n: int) -> None:
    found.last_seq, found.last_n = max(found.last_seq, seq), max(found.last_n, n)


def owed_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines that tell of an alert: its `n`, and the line. What makes no sense is left out."""
    for kind, begin, end in pieces(data):
        if kind == OWED:
            text = data[begin:end]
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                yield int(json.loads(text.partition(b"\t")[0])["n"]), line(OWED, text)
