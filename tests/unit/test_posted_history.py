# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The body of `POST /history`: what is taken of it, and what is refused, line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sockbpf.record.history import MOST, Sample, Series
from sockbpf.store.web.posted_history import (
    AHEAD_S,
    MOST_NAME,
    MOST_OF_LINE,
    MOST_SAMPLES,
    MOST_SPAN_S,
    told_by,
)
from sockbpf.store.web.problem import Problem

NOW_S, KEEP_S = 1_795_343_123.5, 86_400.0
AT_S = 1_795_343_120
GOOD: dict[str, Any] = {
    "host": "web1",
    "service": "nginx.service",
    "protocol": "tcp",
    "type": "SEND",
    "at": [AT_S - 10, AT_S],
    "size": [72_400, 0],
    "fill": [31, 0],
    "sockets": [2, 0],
    "drops": [0, 1],
}
SERIES = Series("web1", "nginx.service", "tcp", "SEND")


def told(*lines: object) -> Any:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    return told_by("\n".join(texts).encode(), "identity", NOW_S, KEEP_S)


def test_a_line_is_the_samples_of_a_series() -> None:
    made = told(GOOD, GOOD | {"service": "5432", "at": [AT_S + 3, AT_S]})
    assert made.refused == []
    assert made.samples == {
        SERIES: {AT_S - 10: Sample(72_400, 31, 2, 0), AT_S: Sample(0, 0, 0, 1)},
        SERIES._replace(service="5432"): {AT_S: Sample(72_400, 31, 2, 1)},
    }


def test_two_lines_of_a_series_are_one() -> None:
    made = told(GOOD, GOOD | {"size": [80_000, 7]})
    assert made.samples[SERIES] == {AT_S - 10: Sample(80_000, 31, 2, 0), AT_S: Sample(7, 0, 0, 1)}


def test_what_is_too_old_is_left_out_and_counted() -> None:
    oldest_s = AT_S - int(KEEP_S) + 10
    made = told(GOOD | {"at": [oldest_s - 20, oldest_s]}, GOOD)
    assert (made.refused, sorted(made.samples[SERIES])) == ([], [oldest_s, AT_S - 10, AT_S])
    assert made.too_old == 1


def test_a_line_may_be_of_a_day() -> None:
    assert len(told(GOOD | {"at": [AT_S + AHEAD_S - MOST_SPAN_S, AT_S + AHEAD_S]}).samples[SERIES]) == 2


BAD: list[Any] = [
    "",
    "{",
    "[]",
    "null",
    "[" * 100_000,
    " " * (MOST_OF_LINE + 1),
    {name: value for name, value in GOOD.items() if name != "drops"},
    GOOD | {"further": 1},
    *(
        GOOD | {name: value}
        for name in ("host", "service")
        for value in ("", "x" * (MOST_NAME + 1), 7, "a\0b", None)
    ),
    GOOD | {"host": "\ud800"},
    GOOD | {"protocol": "sctp"},
    GOOD | {"type": "RATE"},
    *(
        GOOD | {"size": value}
        for value in (5, "ab", {"0": 1, "1": 1}, [1], [1, 2, 3], [1, None], [1, "2"], [True, 1])
    ),
    *(GOOD | {"size": [1, value]} for value in (-1, 1.5, 1e3, MOST.size + 1)),
    *(GOOD | {name: [1, getattr(MOST, name) + 1]} for name in ("fill", "sockets", "drops")),
    GOOD | {"at": [AT_S, 2**32]},
    GOOD | {"at": [AT_S, AT_S - MOST_SPAN_S - 1]},
    GOOD | {"at": [AT_S, int(NOW_S) + AHEAD_S + 10]},
    {**GOOD, **{name: [AT_S] * (MOST_SAMPLES + 1) for name in ("at", "size", "fill", "sockets", "drops")}},
    json.dumps(GOOD).replace("72400", "NaN"),
    json.dumps(GOOD).replace("72400", "1" * 5000),
]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_makes_no_sense_keeps_no_other_out(line: Any) -> None:
    made = told(line, GOOD)
    assert [row for row, _ in made.refused] == [1]
    assert len(made.samples[SERIES]) == 2
    assert list(made.samples) == [SERIES]


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(Problem) as refused:
        told(*[GOOD] * 1001)
    assert refused.value.status == 413
