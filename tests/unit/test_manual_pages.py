# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The manual pages name every command, option and key that there is, and are shown without a complaint."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from package import commands, settings
from package.__main__ import FILES
from sockbpf.cli import COMMANDS
from sockbpf.plugin import check
from sockbpf.settings.config import Config
from sockbpf.settings.destinations import MODELS
from sockbpf.settings.fields import Section
from sockbpf.settings.rules import MatchSettings, RuleSettings

PAGES = {name: text for name, text in FILES.items() if name[-1].isdigit()}


def shown(text: str, folder: Path) -> str:
    """Return a page as a reader sees it, of whatever width; fail for any warning."""
    (folder / "page").write_text(text)
    groff = ["groff", "-man", "-Tutf8", "-ww", "-rLL=2000n", "-P-cbou", str(folder / "page")]
    done = subprocess.run(groff, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return re.sub(r"(?<=\S)  +", " ", done.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_it_is_shown_without_a_complaint(name: str, tmp_path: Path) -> None:
    page = shown(PAGES[name](), tmp_path)
    title, section = name.rsplit(".", 1)
    assert page.lstrip().startswith(f"{title.upper()}({section})")
    assert "\\" not in page


def test_every_command_has_its_options_and_its_example(tmp_path: Path) -> None:
    page = shown(commands.sockbpf(), tmp_path)
    for name, command in COMMANDS.items():
        part = part_of(page, f"sockbpf {name}")
        assert command.example in part
        assert command.usage.replace("…", "...") in page
    for option in ("--ready-file FILE", "--socket PATH", "--filter TEXT", "--limit N", "--match CONDITIONS"):
        assert option in page
    assert "--child" not in page


def test_every_option_of_the_plug_in(tmp_path: Path) -> None:
    page = shown(commands.check_sockbpf(), tmp_path)
    for option in check.parser().format_help().split():
        if option.startswith("--"):
            assert option.rstrip(",") in page


def part_of(page: str, title: str) -> str:
    """Return what stands under a title of the second order."""
    return re.split(r"\n(?= {0,3}\S)", page.partition(f"\n   {title}\n")[2])[0]


def keys(model: type[Section]) -> list[str]:
    return list(model.model_fields)


def test_every_key_of_the_settings(tmp_path: Path) -> None:
    page = shown(settings.settings(), tmp_path)
    for name, key in Config.model_fields.items():
        part = part_of(page, name)
        assert part, name
        model = key.annotation
        if isinstance(model, type) and issubclass(model, Section) and name not in ("http", "rates"):
            assert [one for one in keys(model) if not re.search(rf"(?m)^ {{7}}{one}\b", part)] == []
    for name, model in MODELS.items():
        part = part_of(page, f"type: {name}")
        own = set(keys(model)) - {"type", "name", "events", "types", "rate", "burst", "timeout"}
        assert [one for one in own if not re.search(rf"(?m)^ {{7}}{one}\b", part)] == []
    rules = page.partition("\nRULES\n")[2]
    for name in (*keys(RuleSettings), *keys(MatchSettings)):
        assert re.search(rf"(?m)^ {{3,7}}{name}\b", rules), name


def test_what_a_key_can_hold_is_said_as_it_is_refused(tmp_path: Path) -> None:
    page = shown(settings.settings(), tmp_path)
    assert re.search(r"workers 4\n +requests under way .* \[a whole number from 1 to 64, such as 1]", page)
    assert re.search(r"send 1MiB\n +a size from 0 to 2147483647, such as 64KiB or 80%", page)
    assert re.search(r"facility\n +one of kern, user, mail", page)
