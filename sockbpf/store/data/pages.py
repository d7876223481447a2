# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rows read directly from the pages of a SQLite file, for a file that is too damaged for SQLite itself.

https://www.sqlite.org/fileformat2.html: each leaf page of a table holds rows; a row that is too long continues on a
chain of further pages. What is read here may be nonsense: the caller recognises an intact row by its digest.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAF = 0x0D
PAGE = 4096
"""Bytes of a page: SQLite's default since 2016, which our files have."""
HEAD = 100
"""Bytes of the file's header, which come before the content of the first page."""
LOG_HEAD, FRAME_HEAD = 32, 24
LONGEST = 64 * 2**20
"""Bytes; a longer row is not read."""
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
FLOAT, ZERO, ONE, FIRST_BLOB = 7, 8, 9, 12


def rows_on_pages(path: Path, columns: tuple[int, int]) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number and the values of each row; texts are bytes. Raise OSError.

    `columns` is how many columns a row has at least and at most: others belong to another table.
    """
    with path.open("rb") as file:
        pages = _Pages(file, _logged(path))
        for number in pages.numbers:
            page = pages.of(number)
            begin = HEAD if number == 1 else 0
            if len(page) < PAGE or page[begin] != LEAF:
                continue
            cells = struct.unpack_from(">H", page, begin + 3)[0]
            for index in range(min(cells, (PAGE - begin - 8) // 2)):
                try:
                    at = struct.unpack_from(">H", page, begin + 8 + 2 * index)[0]
                    n, payload = _cell(page, at, pages)
                    values = _values(payload)
                except (IndexError, struct.error, ValueError):
                    continue
                if columns[0] <= len(values) <= columns[1]:
                    yield n, values


def _logged(path: Path) -> dict[int, tuple[Path, int]]:
    """Return for each page in the write-ahead log the place of its newest copy."""
    log = path.with_name(f"{path.name}-wal")
    found: dict[int, tuple[Path, int]] = {}
    try:
        with log.open("rb") as file:
            head = file.read(LOG_HEAD)
            at = LOG_HEAD
            while len(frame := file.read(FRAME_HEAD)) == FRAME_HEAD:
                if frame[8:16] != head[16:24]:  # left over from an earlier log
                    break
                found[struct.unpack_from(">I", frame)[0]] = (log, at + FRAME_HEAD)
                at += FRAME_HEAD + PAGE
                file.seek(at)
    except OSError:
        return {}
    return found


class _Pages:
    def __init__(self, file: Any, logged: dict[int, tuple[Path, int]]) -> None:
        self._file = file
        self._logged = logged
        size = file.seek(0, 2)
        self.numbers = sorted({*range(1, -(-size // PAGE) + 1), *logged})

    def of(self, number: int) -> bytes:
        place = self._logged.get(number)
        if place:
            with place[0].open("rb") as log:
                log.seek(place[1])
                return log.read(PAGE)
        self._file.seek((number - 1) * PAGE)
        return bytes(self._file.read(PAGE))


def _cell(page: bytes, at: int, pages: _Pages) -> tuple[int, bytes]:
    size, at = _varint(page, at)
    n, at = _varint(page, at)
    if size > LONGEST:
        raise ValueError
    most, least = PAGE - 35, (PAGE - 12) * 32 // 255 - 23
    here = size
    if size > most:
        here = least + (size - least) % (PAGE - 4)
        here = here if here <= most else least
    payload = page[at : at + here]
    following = struct.unpack_from(">I", page, at + here)[0] if here < size else 0
    parts, held = [payload], len(payload)
    while held < size:
        if following <= 0:
            raise ValueError
        chained = pages.of(following)
        following = struct.unpack_from(">I", chained)[0]
        part = chained[4 : 4 + size - held]
        if not part:
            raise ValueError
        parts.append(part)
        held += len(part)
    return n, b"".join(parts)


def _values(payload: bytes) -> list[Any]:
    size, at = _varint(payload, 0)
    kinds = []
    while at < size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        if kind in INTEGERS:
            length = INTEGERS[kind]
            values.append(int.from_bytes(payload[at : at + length], "big", signed=True))
        elif kind == FLOAT:
            length = 8
            values.append(struct.unpack_from(">d", payload, at)[0])
        else:
            length = (kind - FIRST_BLOB) // 2 if kind >= FIRST_BLOB else 0
            values.append({0: None, ZERO: 0, ONE: 1}.get(kind, payload[at : at + length]))
        at += length
        if at > len(payload):
            raise ValueError
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for _ in range(8):
        value = value << 7 | data[at] & 0x7F
        at += 1
        if data[at - 1] < 0x80:  # noqa: PLR2004
            return value, at
    value = value << 8 | data[at]
    return value - (2**64 if value >= 2**63 else 0), at + 1
