# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept of the queues of services, whether they were over or not: a sample of each at each look. Pure."""

from __future__ import annotations

from typing import NamedTuple

from sockbpf.record.event import Direction, Protocol

STEP_S = 10
"""From one sample to the next. A sample's time is Unix time, a multiple of this, at which its step begins."""

PROTOCOLS = tuple(protocol.name.lower() for protocol in Protocol)
TYPES = tuple(direction.name for direction in (Direction.SEND, Direction.RECV, Direction.ACCEPT))


class Series(NamedTuple):
    """Whose queues they are: those of one direction of a service of a host, which is a unit or a port."""

    host: str
    service: str
    protocol: str
    type: str


class Sample(NamedTuple):
    """The queues of a series within a step, or within several."""

    size: int
    """The largest of them, bytes; of ACCEPT connections."""
    fill: int
    """The fullest of them, percent."""
    sockets: int
    """How many were not empty at once."""
    drops: int


MOST = Sample(2**50, 10_000, 2**31 - 1, 2**40)
"""The greatest values: sums of many of them are numbers of 64 bits still."""

Samples = dict[int, Sample]
"""By their time. There is none where all queues of the series were empty, or nobody looked."""


def same_step(one: Sample, other: Sample) -> Sample:
    """Return the sample of a step of which both are: sent twice it is the same."""
    return Sample(*map(max, one, other))


def bounded(sample: Sample) -> Sample:
    """Return the sample with no value that is greater than the greatest: a store refuses such a one."""
    return Sample(*map(min, sample, MOST))


def longer(one: Sample, other: Sample) -> Sample:
    """Return the sample of two steps together."""
    return same_step(one, other)._replace(drops=one.drops + other.drops)
