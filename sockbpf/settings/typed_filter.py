# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A filter as people type it: `port:443 unit:nginx state:CLOSE-WAIT nginx`, valid at every key that is pressed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sockbpf.errors import ConfigError
from sockbpf.record.event import Protocol
from sockbpf.record.socket_row import Asked
from sockbpf.settings.filters import FILTERS, asked_of
from sockbpf.usage import meant

MOST = 200
"""So many characters are read."""
PARTS = ("process", "unit", "cgroup")
"""Of these a part of the name is enough."""
NAMES = {name.replace("_", "-"): name for name in FILTERS}


@dataclass(frozen=True, slots=True)
class Typed:
    """Which sockets are asked for: all of it must hold. What is wrong is passed over, and said in `faults`."""

    asked: Asked = field(default_factory=Asked)
    words: tuple[str, ...] = ()
    """In lower case; each must be a part of what is shown of the socket."""
    faults: tuple[str, ...] = ()


def typed(text: str) -> Typed:
    """Return what a filter asks for; a value that is not typed yet, `port:`, asks for nothing."""
    options: dict[str, list[str]] = {}
    protocols: list[Protocol] = []
    words: list[str] = []
    faults: list[str] = []
    for word in text[:MOST].split():
        key, colon, value = word.partition(":")
        name = NAMES.get(key.lower())
        if key.lower() in {"tcp", "udp"} and not colon:
            protocols.append(Protocol[key.upper()])
        elif not colon or not re.fullmatch(r"[A-Za-z-]+", key):  # an address has colons too
            words.append(word.lower())
        elif name is None:
            faults.append(f"no such filter: {key}{meant(key, NAMES)}")
        elif value and (fault := _fault(name, value)):
            faults.append(f"{key}: {fault}")
        elif value:
            options.setdefault(name, []).append(_pattern(name, value))
    return Typed(asked_of(options, tuple(dict.fromkeys(protocols))), tuple(words), tuple(faults))


def _pattern(name: str, value: str) -> str:
    is_whole = name not in PARTS or re.search(r"[*?\[]", value)
    return value if is_whole else f"*{value}*"


def _fault(name: str, value: str) -> str:
    """Return what is wrong with the value; empty if nothing is."""
    try:
        asked_of({name: [_pattern(name, value)]})
    except ConfigError as fault:
        return str(fault).splitlines()[0].partition(": ")[2] or str(fault)
    return ""
