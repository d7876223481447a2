# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one row of the table of an alert's fields says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.record.alert import Alert


class Kind(Enum):
    """What the text of a field stands for."""

    TEXT = "text"
    WHOLE = "whole number"
    """From 0 to 2**63 - 1."""
    SECONDS = "seconds"
    """With up to six decimals."""
    ADDRESS = "address"
    """An IP address without brackets."""


class Needed(Enum):
    """Which requests the store refuses if they do not have the field."""

    NEVER = 0
    IN_ALERTS = 1
    """In all that are about an episode: not about the monitor itself."""
    ALWAYS = 2
    OF_SOCKETS = 3
    """In alerts about a socket: of episodes, not of rates."""
    OF_RATES = 4


@dataclass(frozen=True, slots=True)
class Field:
    """One row. Fields that stand together and have the same meaning share a row of docs/request.md."""

    name: str
    kind: Kind
    meaning: str
    """In Markdown, as docs/request.md shows it."""
    of: Callable[[Alert], str | None]
    """Return its value; None where the alert does not have the field."""
    unit: str = ""
    choices: tuple[str, ...] = ()
    """All values that there are; empty where there is no list of them."""
    needed: Needed = Needed.NEVER
    folded: bool = True
    """Whether an alert about several sockets has it in any case; others it has if all the sockets share the value."""
    chosen: bool = False
    """Whether a user can choose the text freely: the name of a process, of a host."""
    column: int = 0
    """Its place among the columns of the store, by which it is a filter; 0 for none. A new one takes the next number,
    which makes a new edition of the tables. A field without a column is found by key=value in the body, slowly."""
    shown: bool = False
    """Whether its column is one of episodes alone, which show it: it is no filter."""
