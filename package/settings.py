# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The manual page sockbpf.yaml(5): what the shipped file says of each key, and what the settings' models accept."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic import TypeAdapter, ValidationError

from package.roff import Page
from sockbpf import __version__
from sockbpf.settings.config import Config
from sockbpf.settings.destinations import MODELS, DestinationSettings
from sockbpf.settings.fields import Section
from sockbpf.settings.rules import MatchSettings, RuleSettings

SHIPPED = Path(__file__).parents[1] / "config.yaml"

TOO_MUCH = "9" * 18
"""Beyond what any number, size or duration may be."""


@dataclass
class Key:
    """A key of the shipped file: its value as written there, and what is said of it."""

    value: str = ""
    said: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    under: dict[str, Key] = field(default_factory=dict)


def shipped(text: str) -> tuple[list[str], dict[str, Key]]:
    """Return the paragraphs before the first key, and the keys, of a commented file of settings."""
    intro: list[str] = []
    keys: dict[str, Key] = {}
    said: list[str] = []
    key = Key()
    for line in [*text.splitlines(), ""]:
        if found := re.fullmatch(r"(\w+):(?: +(.*?))?(?: +# (.*))?", line):
            keys[found[1]] = key = Key(found[2] or "", [*said, *filter(None, [found[3]])])
            said, inner = [], key
        elif found := re.fullmatch(r"  (\w+): +(.*?)(?: +# (.*))?", line):
            key.under[found[1]] = inner = Key(found[2], list(filter(None, [found[3]])))
        elif found := re.fullmatch(r"#  (- .*)", line):
            key.examples.append(found[1])
        elif found := re.fullmatch(r"# (.*)", line):
            said.append(found[1])
        elif found := re.fullmatch(r" +# (.*)", line):
            inner.said.append(found[1])
        elif not line and said:
            intro.append(" ".join(said))
            said = []
    return intro, keys


def accepted(key: Any) -> str:
    """Return what a key of a model can hold, in the words with which it refuses what it cannot."""
    kind: Any = Annotated[(key.annotation, *key.metadata)] if key.metadata else key.annotation
    adapter = TypeAdapter(kind)
    form, bounds = _refusal(adapter, "\0"), _refusal(adapter, TOO_MUCH)
    if " from " in bounds:
        _, such_as, example = form.partition(" such as ")
        return f"{bounds}, such as {example}" if such_as else bounds
    return form


def _refusal(adapter: TypeAdapter[Any], wrong: object) -> str:
    try:
        adapter.validate_python(wrong)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        return "" if said.startswith("a valid ") else said.removeprefix("expected ")
    return ""


def settings() -> str:
    """Make the page of the settings."""
    intro, keys = shipped(SHIPPED.read_text())
    page = Page("sockbpf.yaml", 5, __version__, "the settings of sockbpf")
    page.section("Description")
    for paragraph in intro:
        page.paragraph(paragraph)
    page.section("Keys")
    for name, key in keys.items():
        page.subsection(name)
        page.paragraph(" ".join(key.said))
        model = Config.model_fields[name].annotation
        if key.under and is_section(model):
            for inner, said in key.under.items():
                page.entry(inner, _entry(" ".join(said.said), model.model_fields[inner]), said.value)
        elif not key.under and key.value:
            words = filter(None, (f"Here `{key.value}`", accepted(Config.model_fields[name])))
            page.paragraph("; ".join(words) + ".")
        if key.examples:
            page.verbatim(key.examples)
    page.section("Destinations")
    page.paragraph("Each item of `destinations` has the keys of its type, and these:")
    _model(page, DestinationSettings, set())
    for name, its in MODELS.items():
        page.subsection(f"type: {name}")
        page.paragraph(str(its.__doc__))
        _model(page, its, set(DestinationSettings.model_fields))
    page.section("Rules")
    page.paragraph("What a rule sets:")
    _model(page, RuleSettings, {"match"})
    page.subsection("match")
    _model(page, MatchSettings, set())
    page.section("See also")
    page.paragraph("`sockbpf`(8), `check_sockbpf`(8), and /usr/share/doc/sockbpf.")
    return page.text()


def _model(page: Page, model: type[Section], without: set[str]) -> None:
    for name, key in model.model_fields.items():
        if name not in without:
            page.entry(name, _entry(key.description or "", key))


def _entry(said: str, key: Any) -> str:
    words = ", ".join(key.annotation.model_fields) if is_section(key.annotation) else accepted(key)
    return f"{said} [{words}]" if said and words and words != said else said or words


def is_section(kind: Any) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)
