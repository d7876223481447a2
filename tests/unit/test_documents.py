# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The documents are true of the files and the commands: links lead somewhere, and what they tell to type is taken."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from sockbpf.cli import COMMANDS
from sockbpf.commands.sockets import wish_of
from sockbpf.counters import LOSSES
from sockbpf.errors import ConfigError
from sockbpf.plugin import check
from sockbpf.record.why import Cause
from sockbpf.settings.config import load
from sockbpf.settings.silences import conditions_of, reason_of, seconds_of
from sockbpf.settings.typed_filter import typed
from sockbpf.usage import parse
from tests.unit.copies import ROOT
from tests.unit.documents import DOCUMENTS, anchors, blocks, commands, links, text_of

CHANGES = Path("CHANGELOG.md")
"""Tells of command lines that are refused, too."""
REQUIREMENT = Path("docs/requirement.md")
TYPED = [(document, words) for document in DOCUMENTS if document != CHANGES for words in commands(document)]
RUNBOOK = Path("docs/runbook.md")
OF_MONITOR = Path("docs/runbook-monitor.md")
WITH_SETTINGS = (RUNBOOK, Path("docs/rollout.md"))
SETTINGS = [(document, block) for document in WITH_SETTINGS for block in blocks(document, "yaml")]
"""Settings in full, but for `url`, of those documents that have no others."""


def faults_of(document: Path, link: str) -> str:
    """Return what is wrong with a link; of one to another site nothing can be said here."""
    if "://" in link or link.startswith("mailto:"):
        return ""
    name, _, anchor = link.partition("#")
    target = (ROOT / document).parent / name if name else ROOT / document
    if not target.exists():
        return f"{document}: no file {name}"
    if anchor and anchor not in anchors(target.resolve().relative_to(ROOT)):
        return f"{document}: no heading {link}"
    return ""


def test_links_lead_somewhere() -> None:
    every = [(document, link) for document in DOCUMENTS for link in links(document)]
    assert len(every) > 50
    assert not [fault for document, link in every if (fault := faults_of(document, link))]


def refuse_what_makes_no_sense(arguments: Namespace) -> None:
    """Raise ConfigError for what only the command itself would refuse."""
    if arguments.command == "sockets":
        wish_of(arguments)
    elif arguments.command == "top":
        faults = [fault for text in arguments.filter or [] for fault in typed(text).faults]
        if faults:
            raise ConfigError(faults)
    elif arguments.command == "silence" and arguments.match is not None:
        conditions_of(arguments.match)
        seconds_of(vars(arguments)["for"])
        reason_of(arguments.reason or "")


@pytest.mark.parametrize(
    ("document", "words"), TYPED, ids=[f"{document.stem}: {' '.join(words)}" for document, words in TYPED]
)
def test_what_is_to_be_typed_is_taken(document: Path, words: list[str]) -> None:
    program, *rest = words
    if program == "check_sockbpf":
        check.parse(rest)
    elif rest and rest != ["--version"] and (len(rest) > 1 or rest[0] not in COMMANDS):
        refuse_what_makes_no_sense(parse(COMMANDS, rest))


def test_commands_are_found() -> None:
    found = {words[1] for _, words in TYPED if len(words) > 1}
    assert found >= {"top", "sockets", "status", "explain", "silence", "check", "store"}


def test_what_shows_the_requirement_is_there() -> None:
    """Tests by their files, targets of make, figures of the bench."""
    text = text_of(REQUIREMENT)
    tests = set(re.findall(r"\btests/[\w/]+", text))
    targets = set(re.findall(r"`(?:sudo )?make ([a-z-]+)", text))
    figures = set(re.findall(r"\bFIGURES=(\w+)", text))
    assert min(len(tests), len(targets), len(figures)) > 1
    assert not [each for each in tests if not any((ROOT / f"{each}{end}").exists() for end in ("", ".py"))]
    assert not targets - set(re.findall(r"(?m)^([a-z-]+):", text_of(Path("Makefile"))))
    assert not [each for each in figures if f'"{each}": (' not in text_of(Path("bench/__main__.py"))]


def test_every_cause_has_its_part_of_the_runbook() -> None:
    """And the part says what to do: at least one command."""
    parts = text_of(RUNBOOK).split("\n### ")
    by_heading = {part.partition("\n")[0]: part for part in parts[1:]}
    assert not {cause.value for cause in Cause} - set(by_heading)
    assert not [cause.value for cause in Cause if "`" not in by_heading[cause.value]]


def test_every_loss_has_its_row() -> None:
    rows = [line.split("|")[1] for line in text_of(OF_MONITOR).splitlines() if line.startswith("| `")]
    assert not [name for name in LOSSES if not any(f"`{name}`" in row for row in rows)]


@pytest.mark.parametrize(("document", "block"), SETTINGS)
def test_settings_are_taken(document: Path, block: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-a-test")
    (tmp_path / "ca.pem").write_text(Path(DEFAULT_CA_BUNDLE_PATH).read_text())
    url = "" if "\nurl:" in f"\n{block}" else f"url: http://127.0.0.1:9/{document.stem}\n"
    file = tmp_path / "config.yaml"
    file.write_text(url + block.replace("/etc/sockbpf", str(tmp_path)))
    load(file)
