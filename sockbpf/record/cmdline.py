# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A command line as text that may be shown: what looks like a secret is masked, and it is short and printable. Pure.

Where it is in doubt it masks: all that follows a name such as `password` in an argument, and the argument after it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MASK = "***"
MOST = 256
"""So many characters are shown."""

SECRETS = ("pass", "pwd", "secret", "token", "credential", "auth", "cookie", "apikey", "bearer")
"""What the name of a secret has in it; one that ends with `key` or `keys` is one too."""

SCHEMES = frozenset({"bearer", "basic", "digest", "negotiate"})
"""Of an Authorization header: a secret follows."""

USERS = frozenset({"-u", "-U", "--user", "--proxy-user", "--login"})
"""A user follows, and perhaps a password behind `:` or `%`."""

OF_PROGRAMS = (("redis", "-a"), ("ldap", "-w"), ("mosquitto", "-P"), ("smbclient", "-A"), ("sqlcmd", "-P"))
"""The beginning of a program's name, and which of its options has a secret; `-p` is taken for one in all."""

NO_PASSWORDS = frozenset(
    {"-path", "-pid", "-pidfile", "-port", "-prefix", "-print", "-profile", "-properties", "-proxy"}
)
"""Options that begin as -pPASSWORD does."""

WORD = re.compile(r"[\w.+-]+")
SEPARATOR = re.compile(r"[\"']?\s{0,8}[=:]\s{0,8}")
SPACE = re.compile(r"[\"']?\s+")
LOGIN = re.compile(r"(?<=://)[^/?#\s@]*(?=@)")
ISSUED = re.compile(
    r"\b(?:gh[opsur]_|github_pat_|glpat-|sk-|xox[abeprs]-|AKIA|ASIA|eyJ|AIza|hvs\.)[\w.-]{8,}"
)
"""Tokens that their issuers make known by how they begin; eyJ is a JSON Web Token."""


def shown(arguments: Sequence[str]) -> str:
    """Return a command line with what looks like a secret masked; empty if there are no arguments."""
    text = printable(" ".join(_masked(arguments)))
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _masked(arguments: Sequence[str]) -> Iterator[str]:
    program = arguments[0].rpartition("/")[2] if arguments else ""
    options = {"-p", *(option for name, option in OF_PROGRAMS if program.startswith(name))}
    before = ""
    for place, argument in enumerate(arguments):
        if place and _announces(before, options):
            yield MASK
        elif place and before in USERS:
            yield _without_password(argument)
        else:
            yield _argument(argument, options)
        before = argument


def _announces(argument: str, options: set[str]) -> bool:
    """Tell whether the next argument is a secret."""
    return (
        argument in options
        or argument.lower().rstrip(":") in SCHEMES
        or (WORD.fullmatch(argument.rstrip(":=")) is not None and _is_name(argument.rstrip(":=")))
    )


def _is_name(word: str) -> bool:
    name = word.lower().replace("-", "").replace("_", "")
    return name.endswith(("key", "keys")) or any(part in name for part in SECRETS)


def _argument(text: str, options: set[str]) -> str:
    """Return one argument, which may be a script, without its secrets: from the first one on it is masked."""
    text = ISSUED.sub(MASK, LOGIN.sub(_login, text))
    for word in WORD.finditer(text):
        begins = not word.start() or text[word.start() - 1].isspace()
        if begins and (at := _glued(word[0], options)):
            return text[: word.start() + at] + MASK
        behind = _behind(text, word, options, begins=begins)
        if behind is not None and behind < len(text):
            return text[:behind] + MASK
    return text


def _behind(text: str, word: re.Match[str], options: set[str], *, begins: bool) -> int | None:
    """Return where a secret begins that this word announces; None if it announces none."""
    space = SPACE.match(text, word.end())
    if _is_name(word[0]):
        separator = SEPARATOR.match(text, word.end()) or space
        return separator.end() if separator else None
    if space and (word[0].lower() in SCHEMES or (begins and word[0] in options | USERS)):
        return space.end()
    if begins and word[0] in USERS and (separator := SEPARATOR.match(text, word.end())):
        return separator.end()
    return None


def _glued(word: str, options: set[str]) -> int:
    """Return where the secret begins in an option such as -pPASSWORD; 0 if it is none."""
    if word.startswith("--") or word in NO_PASSWORDS:
        return 0
    return next((len(option) for option in options if word.startswith(option) and word != option), 0)


def _login(found: re.Match[str]) -> str:
    user, colon, _ = found[0].partition(":")
    return f"{user}:{MASK}" if colon else MASK


def _without_password(user: str) -> str:
    found = re.search(r"[:%]", user)
    return user[: found.end()] + MASK if found else user
