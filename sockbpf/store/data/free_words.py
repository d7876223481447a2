# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Free words, by which episodes are found wherever a word stands in one of their texts."""

from __future__ import annotations

import re
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, literal

from sockbpf.store.data.engine import contains
from sockbpf.store.data.schema import EPISODE
from sockbpf.store.data.values import EntryError, searchable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection

SEARCHED = (
    *("comm", "host", "local_ip", "remote_ip", "name"),
    *("unit", "container", "user", "cause", "reason"),
)
"""The columns of an episode in which words are searched, the same as on the page."""
MOST_CHARACTERS = 200
MOST_WORDS = 8
"""Words of one search, with those within quotes: each is looked for in each episode."""
PATTERN = rf"^ *([^ ]+( +[^ ]+){{0,{MOST_WORDS - 1}}})? *$"
"""What `MOST_WORDS` allows, for the description; a word ends at a space."""
LOOKED_AT = 20_000
"""Episodes that one page looks at; a word may be in none of millions, and each is read from the table."""
_TOKEN = re.compile(r'(?:[^ "]|"[^"]*"?)+')
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def read_words(name: str, text: str) -> tuple[str, ...]:
    """Return the words of a text, in lower case; in quotes, several are one. Raise EntryError."""
    if len(text) > MOST_CHARACTERS:
        raise EntryError(f"{name}: expected at most {MOST_CHARACTERS} characters")
    if len(text.split(" ")) - text.split(" ").count("") > MOST_WORDS:
        raise EntryError(f"{name}: expected at most {MOST_WORDS} words")
    words = (token.replace('"', "") for token in _TOKEN.findall(text))
    return tuple(dict.fromkeys(searchable(word).translate(_LOWER) for word in words if word))


def has_words(connection: Connection, words: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that an episode has all of these words, as `read_words` returns them."""
    texts: ColumnElement[str] = literal("")
    for name in SEARCHED:
        texts = texts.concat(func.coalesce(EPISODE.c[name], "")).concat("\n")
    return and_(*(contains(connection, texts, word) for word in words))
