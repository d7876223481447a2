# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The documents as a reader has them: headings and links as GitHub makes them, code, and the commands in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.unit.copies import ROOT

DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "zabbix/*.md", "kubernetes/*.md", "ansible/*.md", "prometheus/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1`*$", re.DOTALL | re.MULTILINE)
IN_LINE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]*)\)")
PROGRAM = re.compile(r"^(?:\$ )?(?:sudo )?(?:/usr/local/bin/)?(check_sockbpf|sockbpf)(?: |$)")
OPERATORS = frozenset("|&;<>")


def text_of(document: Path) -> str:
    return (ROOT / document).read_text()


def without_code(document: Path) -> str:
    return IN_LINE.sub("", FENCE.sub("", text_of(document)))


def links(document: Path) -> list[str]:
    """Return where the links and pictures of a document lead."""
    return LINK.findall(without_code(document))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document: one for each heading, a further one of the same words gets a number."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCE.sub("", text_of(document)), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)  # of a link only its text
        word = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(f"{word}-{found.count(word)}" if word in found else word)
    return {*found}


def blocks(document: Path, language: str) -> list[str]:
    """Return the blocks of code in this language, `yaml`."""
    return [code for _, of, code in FENCE.findall(text_of(document)) if of == language]


def commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of each command line of ours: a line of a block of code, or code within a line.

    What follows a comment sign or an operator of the shell is not of the command.
    """
    text = text_of(document)
    lines = [line for _, _, code in FENCE.findall(text) for line in code.replace("\\\n", " ").splitlines()]
    lines += [code.replace("\n", " ") for _, code in IN_LINE.findall(FENCE.sub("", text))]
    for line in lines:
        found = PROGRAM.match(line.strip())
        if found:
            words = shlex.shlex(line.strip(), posix=True, punctuation_chars=True)
            words.whitespace_split = True
            every = list(words)
            ours = every[every.index(next(word for word in every if word.endswith(found[1]))) :]
            end = next((place for place, word in enumerate(ours) if set(word) <= OPERATORS), len(ours))
            yield [found[1], *ours[1:end]]
