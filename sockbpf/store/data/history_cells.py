# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The samples of one series in one cell of time, as a row keeps them: JSON that zlib has made small. Pure.

Each list has the differences from one sample to the next: of a queue that stays as it is these are zeros.
"""

from __future__ import annotations

import json
import zlib
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from sockbpf.record.history import STEP_S, Sample, longer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.record.history import Samples

HOUR_S = 3600
MOST_BYTES = 2**20
"""Of the JSON of one row; what claims to be longer was altered."""


class CellError(ValueError):
    """These bytes are no samples."""


def packed(samples: Samples, begin_s: int) -> bytes:
    """Return the samples of the cell that begins then, at least one."""
    times = sorted(samples)
    columns = [
        [(at_s - begin_s) // STEP_S for at_s in times],
        *zip(*(samples[at_s] for at_s in times), strict=True),
    ]
    text = json.dumps([_differences(column) for column in columns], separators=(",", ":"))
    return zlib.compress(text.encode())


def unpacked(data: bytes, begin_s: int) -> Samples:
    """Return the samples of the cell that begins then; raise CellError."""
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(data, MOST_BYTES)
        if not unpacking.eof:
            raise CellError
        steps, *columns = (accumulate(column) for column in json.loads(text))
        values = map(Sample._make, zip(*columns, strict=True))
        return {begin_s + step * STEP_S: sample for step, sample in zip(steps, values, strict=True)}
    except (zlib.error, ValueError, TypeError, RecursionError) as fault:
        raise CellError from fault


def whole(samples: Iterable[Sample]) -> Sample:
    """Return what they are together, at least one."""
    size, fill, sockets, drops = zip(*samples, strict=True)
    return Sample(max(size), max(fill), max(sockets), sum(drops))


def hours(samples: Samples) -> str:
    """Return what they are together in each hour, by its number, as JSON."""
    found: Samples = {}
    for at_s, sample in samples.items():
        hour = at_s // HOUR_S
        found[hour] = longer(found[hour], sample) if hour in found else sample
    return json.dumps([[hour, *sample] for hour, sample in sorted(found.items())], separators=(",", ":"))


def of_hours(text: str) -> Samples:
    """Return the samples of whole hours, by the time at which each begins; raise CellError."""
    try:
        return {hour * HOUR_S: Sample(*values) for hour, *values in json.loads(text)}
    except (ValueError, TypeError, RecursionError) as fault:
        raise CellError from fault


def _differences(column: Iterable[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise((0, *column))]
