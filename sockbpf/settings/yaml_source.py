# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A YAML file as plain text values, with the line of every key and the faults met on the way.

YAML's guesses are not made: a scalar stays the text that was written, so `017`, `1:30`, `yes` or `.nan`
never turn into something else; what a value means is decided by the settings' models. Tags, aliases
and deep nesting are refused, so no file can run code, refer to itself or grow when read.
"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

import yaml

from sockbpf.record.text import printable
from sockbpf.usage import meant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Where = tuple[str | int, ...]
    """The keys (and, in a list, the places from 0) that lead to a value."""

MAX_BYTES = 256 * 1024
MAX_DEPTH = 8  # PyYAML takes minutes for 64 KiB of nothing but opening brackets
MAX_SHOWN = 60
WAIT_S = 5.0
ALIKE = 0.8
SUFFIXES = (".yaml", ".yml")
MOST_NAMES = 1000
"""So many files beside one that is not there are looked at for one that may be meant."""


class Refused:
    """Stands where a value was refused, for which there is a fault already."""

    def __repr__(self) -> str:
        return "(refused)"


REFUSED = Refused()


class Fault(NamedTuple):
    """What is wrong and where; line 0 is the file as a whole."""

    line: int
    where: Where
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """The content of a file, as str, list, dict with str keys, and REFUSED; `lines` has the line of each."""

    value: object
    lines: dict[Where, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, where: Where) -> int:
        """Return the line of a value, or of the innermost value around it that has one."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


PLAIN = re.compile(
    r"(?:\w+://?)?(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]*\])(?::[0-9]{0,5})?(?:/[A-Za-z0-9._/-]*)?"
)


def plain_url(text: str) -> str:
    """Return a url that a message may show: its scheme and `***`, unless all of it is a plain host, port and path.

    A password stands before an `@`, or where a port should be; other unusual characters may be part of a query.
    """
    scheme = re.match(r"\w+://", text)
    return text if PLAIN.fullmatch(text) else f"{scheme[0] if scheme else ''}***"


def shown(value: object) -> str:
    """Return a value as a message shows it: short, on one line, without what is below a key, or secret in a url."""
    text = value if isinstance(value, str) else _outline(value)
    if "@" in text or "://" in text:
        text = plain_url(text)
    text = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
    return repr(text) if isinstance(value, str) else text


def _outline(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_outline, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: ...' for key in value)}}}"
    return repr(value)


def messages(file: Path, faults: list[Fault]) -> list[str]:
    """Return one message per fault, by line: `config.yaml:7: thresholds > send: expected ..., got ...`."""
    lines = []
    for line, where, message in sorted(faults, key=lambda fault: fault.line):
        place = f"{file}:{line}" if line else str(file)
        keys = (f"item {key + 1}" if isinstance(key, int) else _key(key) for key in where)
        lines.append(": ".join(part for part in (place, " > ".join(keys), message) if part))
    return lines


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w.-]{1,60}", key) else shown(key)


def read(path: Path) -> Source:
    """Read a file; never raise: whatever keeps it from being read is a fault, with REFUSED as the value."""
    try:
        raw = _content(path)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        near = _beside(path) if number == errno.ENOENT else ""
        return _unreadable(0, f"cannot be read: {os.strerror(number) if number else error}{near}")
    if len(raw) > MAX_BYTES:
        return _unreadable(0, f"expected at most {MAX_BYTES} bytes, got more")
    try:
        return _parsed(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return _unreadable(line, f"expected UTF-8 text, got the byte 0x{raw[error.start]:02x}")


def _beside(path: Path) -> str:
    """Return a question for the file that may be meant instead of one that is not there, or nothing."""
    with suppress(OSError):
        beside = islice(path.parent.iterdir(), MOST_NAMES)
        return meant(path.name, (printable(each.name) for each in beside if each.suffix in SUFFIXES), ALIKE)
    return ""


def _content(path: Path) -> bytes:
    """Return the content of the file, at most a byte more than is allowed. Raise OSError, ValueError.

    A pipe that no process writes to, or a terminal, is given up after WAIT_S.
    """
    raw = b""
    end_s = time.monotonic() + WAIT_S
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        while len(raw) <= MAX_BYTES:
            ready, _, _ = select.select([file], [], [], max(0.0, end_s - time.monotonic()))
            if not ready:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            with suppress(BlockingIOError):
                part = os.read(file, MAX_BYTES + 1 - len(raw))
                if not part:
                    break
                raw += part
    finally:
        os.close(file)
    return raw


def _unreadable(line: int, message: str) -> Source:
    return Source(REFUSED, faults=[Fault(line, (), message)])


def _parsed(text: str) -> Source:
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _unreadable(line, f"expected printable text, got {text[error.position]!a}")
    source = Source(REFUSED)
    events = _events(loader)
    value: object = ""
    try:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and source.lines:
                source.faults.append(Fault(_line(event), (), "expected one document, got a second one"))
                break
            if isinstance(event, yaml.NodeEvent):
                value = _node(event, events, (), source)
    except (yaml.MarkedYAMLError, ValueError, OverflowError) as error:
        source.faults.append(_syntax_fault(error, loader, text))
        return source
    return Source({} if value == "" else value, source.lines, source.faults)


def _syntax_fault(error: Exception, loader: yaml.SafeLoader, text: str) -> Fault:
    at, problem = loader.line, "a number too large"  # "\UFFFFFFFF": PyYAML lets int() and chr() raise
    if isinstance(error, yaml.MarkedYAMLError):
        problem = re.sub(
            r"(tag handle) .*", r"\1", str(error.problem)
        )  # the handle may be the start of a secret
        at = error.problem_mark.line if error.problem_mark else at
        if error.context and error.context_mark:
            problem += f" ({error.context} that begins on line {error.context_mark.line + 1})"
    last = len(text.rstrip().splitlines()) or 1
    return Fault(min(at + 1, last), (), f"not valid YAML: {problem}")


def _events(loader: yaml.SafeLoader) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()  # type: ignore[no-untyped-call]


def _until(end: type[yaml.Event], events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    while not isinstance(event := next(events), end):
        yield event


def _mark(event: yaml.Event) -> yaml.Mark:
    return cast("yaml.Mark", event.start_mark)


def _line(event: yaml.Event) -> int:
    return _mark(event).line + 1


def _node(event: yaml.Event, events: Iterator[yaml.Event], where: Where, source: Source) -> object:
    """Return the value that begins with `event`, taking from `events` to its end."""
    line = source.lines.setdefault(where, _line(event))
    value: object = REFUSED
    fault = None
    if len(where) > MAX_DEPTH:
        raise yaml.MarkedYAMLError(None, None, f"more than {MAX_DEPTH} levels deep", _mark(event))
    if isinstance(event, yaml.SequenceStartEvent):
        items = enumerate(_until(yaml.SequenceEndEvent, events))
        value = [_node(item, events, (*where, place), source) for place, item in items]
    elif isinstance(event, yaml.MappingStartEvent):
        value = _mapping(events, where, source)
    elif isinstance(event, yaml.ScalarEvent):
        value = event.value
        if not _is_unicode(event.value):
            fault = "expected Unicode text, got half of a surrogate pair"
    else:
        fault = "expected the value itself, got an alias (*name)"
    if getattr(event, "tag", None):
        fault = "expected a value without a tag, got one (!...): if it is the value itself, quote it"
    if fault:
        source.faults.append(Fault(line, where, fault))
        return REFUSED
    return value


def _mapping(events: Iterator[yaml.Event], where: Where, source: Source) -> dict[str, object]:
    value: dict[str, object] = {}
    first: dict[str, int] = {}
    for event in _until(yaml.MappingEndEvent, events):
        line = _line(event)
        if not isinstance(event, yaml.ScalarEvent) or event.tag or not _is_unicode(event.value):
            source.faults.append(Fault(line, where, "expected a plain word as key"))
            if isinstance(event, yaml.CollectionStartEvent):
                _node(event, events, (*where, "?"), source)
            _node(next(events), events, (*where, "?"), source)
            continue
        key = event.value
        source.lines.setdefault((*where, key), line)
        if key in first:
            source.faults.append(Fault(line, (*where, key), f"given twice, first on line {first[key]}"))
        found = _node(next(events), events, (*where, key), source)
        first.setdefault(key, line)
        value.setdefault(key, found)
    return value


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
