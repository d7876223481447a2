# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a key of config.yaml can hold: a section, a number with its unit, a choice, a path.

Sizes are bytes (int), durations seconds (float). Every fault is a ValueError that says what was expected.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainValidator

from sockbpf.record.facts import Fill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Units = Mapping[str, int | Fraction]

PATH_BYTES, NAME_BYTES = 4096, 255

PLAIN: Units = {"": 1}
SIZES: Units = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
DURATIONS: Units = {"": 1, "ms": Fraction(1, 1000), "s": 1, "m": 60, "h": 3600, "d": 86400}


class Section(BaseModel):
    """Keys with their values, and no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def quantity(text: str, units: Units) -> Fraction | None:
    """Return a written number times its unit, exactly; None when it is not one."""
    found = re.fullmatch(r"(-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?) ?([A-Za-z]*)", text)
    return Fraction(found[1]) * units[found[2]] if found and found[2] in units else None


def _number(
    kind: type[int | float], what: str, example: str, units: Units, *, low: str, high: str
) -> Callable[[object], float]:
    least, most = quantity(low, units), quantity(high, units)

    def check(value: object) -> float:
        text = str(value)
        found = quantity(text, units)
        if found is None or (kind is int and re.fullmatch(r".*\.[0-9]+", text)):
            raise ValueError(f"expected {what} such as {example}")
        if not (least is not None and most is not None and least <= found <= most):
            raise ValueError(f"expected {what} from {low} to {high}")
        return kind(found)  # to whole bytes, down: no queue lies between 1.1MiB and the byte below it

    return check


def number(low: str, high: str, example: str) -> BeforeValidator:
    return BeforeValidator(_number(float, "a number", example, PLAIN, low=low, high=high))


def whole(low: int, high: int) -> BeforeValidator:
    return BeforeValidator(_number(int, "a whole number", str(low), PLAIN, low=str(low), high=str(high)))


def duration(low: str, high: str = "8760h") -> BeforeValidator:
    return BeforeValidator(_number(float, "a duration", "30s", DURATIONS, low=low, high=high))


AUTO = "auto"

_seconds = _number(float, "a duration", "30s", DURATIONS, low="0s", high="8760h")


def _seconds_or_auto(value: object) -> object:
    return value if value == AUTO else _seconds(value)


Hold = Annotated[float | Literal["auto"], PlainValidator(_seconds_or_auto)]
"""Seconds, or `auto`."""


def none_or_a_second(seconds: float) -> float:
    """Return the seconds; raise ValueError for a part of one."""
    if 0 < seconds < 1:
        raise ValueError("expected 0s for none, or at least 1s")
    return seconds


# The kernel keeps a queue in 32 bits, signed.
LARGEST = "2147483647"
Size = Annotated[int, BeforeValidator(_number(int, "a size", "64KiB", SIZES, low="0", high=LARGEST))]

_size = _number(int, "a size", "64KiB or 80%", SIZES, low="0", high=LARGEST)


def _size_or_share(value: object) -> float | Fill:
    if isinstance(value, Fill):
        return value
    return _share(value) if str(value).endswith("%") else _size(value)


def _share(value: object) -> Fill:
    text = str(value)
    if not re.fullmatch(r"(?:[1-9][0-9]?|100)%", text):
        raise ValueError("expected a share from 1% to 100%")
    return Fill(int(text[:-1]))


Threshold = Annotated[int | Fill, PlainValidator(_size_or_share)]
"""Bytes, or a share of the buffer."""


_connections = _number(int, "a number of connections", "100 or 80%", PLAIN, low="0", high=LARGEST)


def _connections_or_share(value: object) -> float | Fill:
    if isinstance(value, Fill):
        return value
    if value == "0%":
        return 0
    return _share(value) if str(value).endswith("%") else _connections(value)


Backlog = Annotated[int | Fill, PlainValidator(_connections_or_share)]
"""Connections, or a share of a listener's backlog."""


FileSize = Annotated[
    int, BeforeValidator(_number(int, "a size", "10GiB", SIZES, low="1MiB", high="65536GiB"))
]


def written(threshold: int | Fill) -> str:
    """Return a threshold as the settings write it."""
    return f"{threshold.percent}%" if isinstance(threshold, Fill) else f"{threshold} bytes"


def one_of(choices: tuple[str, ...]) -> BeforeValidator:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return value

    return BeforeValidator(check)


def few(most: int, what: str) -> AfterValidator:
    def check(given: dict[str, str]) -> dict[str, str]:
        if len(given) > most:
            raise ValueError(f"expected at most {most} {what}")
        return given

    return AfterValidator(check)


def power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("expected a power of two such as 64")
    return value


def flag(value: object) -> bool:
    if value not in (True, False, "true", "false"):
        raise ValueError("expected true or false")
    return value in (True, "true")


def _fits(text: str) -> bool:
    """Whether a path, and each name in it, is short enough to be opened, and can be encoded by this system."""
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return len(raw) < PATH_BYTES and all(len(name) <= NAME_BYTES for name in raw.split(b"/"))


def absolute_path(value: object) -> Path:
    """Check that this can be the path of a file, which need not be there."""
    text = str(value) if isinstance(value, (str, Path)) else ""
    if not text.startswith("/") or text.endswith("/") or not text.isprintable() or not _fits(text):
        raise ValueError("expected the absolute path of a file")
    return Path(text)
