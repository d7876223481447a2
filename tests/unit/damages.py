# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a disk does to a file."""

from __future__ import annotations

import random
from collections.abc import Callable

from sockbpf.delivery.journal_lines import line
from sockbpf.delivery.owed import Owed

PAGE = 4096
Damage = Callable[[bytearray, random.Random], None]


def flip(data: bytearray, chance: random.Random) -> None:
    """Damage 1 to 20 bytes, anywhere."""
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def scratch(data: bytearray, chance: random.Random) -> None:
    """Damage 1 to 20 bytes in a row."""
    at, size = chance.randrange(len(data)), chance.randint(1, 20)
    data[at : at + size] = chance.randbytes(len(data[at : at + size]))


def newlines(data: bytearray, chance: random.Random) -> None:
    """Damage what stands between lines."""
    ends = [at for at, byte in enumerate(data) if byte == 10]
    for at in chance.sample(ends, min(len(ends), chance.randint(1, 20))):
        data[at] = chance.randrange(256)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def zero(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(0, len(data), PAGE)
    data[at : at + PAGE] = bytes(len(data[at : at + PAGE]))


def swap(data: bytearray, chance: random.Random) -> None:
    one, other = (chance.randrange(0, max(1, len(data) - PAGE), PAGE) for _ in range(2))
    data[one : one + PAGE], data[other : other + PAGE] = data[other : other + PAGE], data[one : one + PAGE]


def repeat(data: bytearray, chance: random.Random) -> None:
    """Put a page where another should be."""
    one, other = (chance.randrange(0, max(1, len(data) - PAGE), PAGE) for _ in range(2))
    data[one : one + PAGE] = data[other : other + PAGE]


DAMAGES: dict[str, Damage] = {
    each.__name__: each for each in (flip, flip, scratch, newlines, cut, zero, swap, repeat)
}


def whole_text(owed: Owed, data: bytes | bytearray) -> bool:
    """Whether what was written for it stands in the file, from its kind to the end of its body."""
    head = (
        f'{{"n":{owed.n},"destination":"{owed.destination}","episode":"{owed.episode}","made_s":{owed.made_s}'
    )
    at = data.find(head.encode())
    if at < 0:
        return False
    begin, end = data.rfind(b"owed\t", 0, at), data.find(owed.body.encode(), at)
    return begin >= 0 and end >= 0 and line(b"owed", bytes(data[at : end + len(owed.body)]))[:-1] in data
