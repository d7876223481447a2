# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Secrets of config.yaml: written there, or in an environment variable or a file that it names.

Nothing of a secret is ever shown: neither its text nor the name of the variable or the file, since somebody will
write the text there by mistake. A fault shows the line alone.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

from sockbpf.settings.fields import absolute_path

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 16 * 1024
FORMS = "expected text, {env: NAME} or {file: PATH}"
HIDDEN = "hidden"
"""The type of those errors of pydantic whose message must not show the value."""


class Secret(str):
    """A text that its repr does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hidden(message: str, *below: str) -> PydanticCustomError:
    """Return the error for a value that is not to be shown; `below` are the keys from the field to the fault."""
    return PydanticCustomError(HIDDEN, "{message}", {"message": message, "below": below})


def secret(check: Callable[[str], str]) -> Callable[[object], Secret]:
    """Return a function that makes a Secret of a value: it reads the text from where it is kept, and checks it."""

    def opened(value: object) -> Secret:
        text, below = _read(value)
        try:
            return Secret(check(text))
        except ValueError as error:
            raise hidden(str(error), *below) from None

    return opened


def unless_plain(check: Callable[[str], str]) -> Callable[[object], str]:
    """Return the same as `secret`, but that a text which stands in config.yaml itself is no Secret."""
    opened = secret(check)

    def plain_or_opened(value: object) -> str:
        plain = isinstance(value, str) and not isinstance(value, Secret)
        return check(str(value)) if plain else opened(value)

    return plain_or_opened


def _read(value: object) -> tuple[str, tuple[str, ...]]:
    """Return the secret's text, and the keys below which a fault of it is."""
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, dict) or len(value) != 1:
        raise hidden(FORMS)
    ((source, name),) = value.items()
    if source not in READERS or not isinstance(name, str):
        raise hidden(FORMS)
    try:
        return READERS[source](name), (source,)
    except OSError as error:
        raise hidden(f"cannot be read: {error.strerror}", source) from None
    except ValueError as error:
        raise hidden(str(error), source) from None


def _from_env(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("expected the name of an environment variable")
    if not os.environ.get(name):
        raise ValueError("expected an environment variable that is set, and not empty")
    return os.environ[name]


def _from_file(name: str) -> str:
    path = absolute_path(name)
    # Without O_NONBLOCK, opening a pipe that no process writes to would wait for ever.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        raw = file.read(MAX_BYTES + 1) or b""
    line, rest = re.fullmatch(rb"([^\r\n]*)\r?\n?(.*)", raw, re.DOTALL).groups()  # type: ignore[union-attr]
    if rest or len(raw) > MAX_BYTES:
        raise ValueError(f"expected a file of one line, at most {MAX_BYTES} bytes")
    if not line:
        raise ValueError("expected a file with a secret in it, got an empty one")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("expected a file of UTF-8 text") from None


READERS: dict[object, Callable[[str], str]] = {"env": _from_env, "file": _from_file}
