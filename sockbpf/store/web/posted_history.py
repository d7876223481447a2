# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The body of `POST /history`: lines of JSON, each with samples of one series, in lists of the same length."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sockbpf.record.history import MOST, PROTOCOLS, STEP_S, TYPES, Sample, Samples, Series, same_step
from sockbpf.store.data.values import EntryError, searchable
from sockbpf.store.web.posted_alerts import lines_of

MOST_SAMPLES = 720
"""Of one line."""
MOST_SPAN_S = 86_400
"""From the first sample of a line to its last: each few minutes of it are a row."""
MOST_OF_LINE = 64 * 1024
"""Bytes of one line."""
MOST_NAME = 128
"""Characters of a host or a service."""
AHEAD_S = 3600
"""So much later than the store's time a sample may be: clocks differ."""
LISTS = ("at", *Sample._fields)


@dataclass(slots=True)
class Told:
    """The samples of a body, and the lines that are refused."""

    samples: dict[Series, Samples] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)
    """The number of each line, the first is 1, and why it is refused; that repeats nothing of the line."""
    too_old: int = 0
    """How many samples are left out, as older than what is kept."""


def told_by(body: bytes, encoding: str, now_s: float, keep_s: float) -> Told:
    """Return what a body says that is not older than `keep_s`, seconds; raise Problem for one that is too large."""
    told = Told()
    for number, line in enumerate(lines_of(body, encoding), 1):
        try:
            series, samples = _series(line, now_s + AHEAD_S)
        except EntryError as error:
            told.refused.append((number, str(error)))
            continue
        known = told.samples.setdefault(series, {})
        for at_s, sample in samples.items():
            if at_s >= now_s - keep_s:
                known[at_s] = same_step(known[at_s], sample) if at_s in known else sample
            else:
                told.too_old += 1
    return told


def _refuse(_: str) -> int:
    raise ValueError  # NaN and Infinity are no JSON, and there are no numbers but whole ones


_DECODER = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse)


def _series(line: bytes, latest_s: float) -> tuple[Series, Samples]:
    """Return the samples of a line, none after `latest_s`, Unix time; raise EntryError."""
    said = _object(line)
    series = Series(*(_name(name, said[name]) for name in Series._fields))
    if series.protocol not in PROTOCOLS or series.type not in TYPES:
        raise EntryError(f"expected protocol {' or '.join(PROTOCOLS)}, type {' or '.join(TYPES)}")
    lists = [said[name] for name in LISTS]
    if any(type(each) is not list for each in lists) or len({len(each) for each in lists}) > 1:
        raise EntryError(f"{', '.join(LISTS)}: expected lists of the same length")
    if len(lists[0]) > MOST_SAMPLES:
        raise EntryError(f"expected at most {MOST_SAMPLES} samples")
    for name, most, each in zip(LISTS, (int(latest_s), *MOST), lists, strict=True):
        if not all(type(value) is int and 0 <= value <= most for value in each):
            raise EntryError(f"{name}: expected whole numbers up to {most}")
    if max(lists[0], default=0) - min(lists[0], default=0) > MOST_SPAN_S:
        raise EntryError(f"at: expected times within {MOST_SPAN_S} s")
    samples: Samples = {}
    for at_s, *values in zip(*lists, strict=True):
        step_s, sample = at_s // STEP_S * STEP_S, Sample(*values)
        samples[step_s] = same_step(samples[step_s], sample) if step_s in samples else sample
    return series, samples


def _object(line: bytes) -> dict[str, Any]:
    """Return the object of a line, which has all that is expected and no more; raise EntryError."""
    if len(line) > MOST_OF_LINE:
        raise EntryError(f"expected at most {MOST_OF_LINE} bytes")
    try:
        said = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        raise EntryError(
            "expected samples as a JSON object on one line, in UTF-8, with whole numbers"
        ) from None
    if type(said) is not dict or said.keys() != {*Series._fields, *LISTS}:
        raise EntryError(f"expected an object with {', '.join((*Series._fields, *LISTS))}")
    return said


def _name(name: str, value: Any) -> str:
    if type(value) is not str or not value or len(value) > MOST_NAME or searchable(value) != value:
        raise EntryError(f"{name}: expected text of at most {MOST_NAME} characters")
    return value
