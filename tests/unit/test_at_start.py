# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which keys a reload takes: the settings' own declaration, what config.yaml and README say, and what is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import yaml

from sockbpf.settings.at_start import AtStart, at_start_keys, taken
from sockbpf.settings.config import Config, load
from sockbpf.settings.fields import Section

ROOT = Path(__file__).parents[2]
SAYING = "Read at the start only."
OTHERS = {
    "metrics": {"listen": "127.0.0.1:9464"},
    "status": {"socket": "none"},
    "journal": {"path": "/var/lib/sockbpf/other"},
    "kernel": {"hooks": "none", "perf_pages": 64},
    "store": {"keep": "7d"},
    "history": {"keep": "1d"},
    "thresholds": {"send": "2MiB"},
    "sweep": {"recheck": "3s"},
    "delivery": {"workers": 7},
    "heartbeat": "3s",
    "events": ["exceeded"],
    "log": "debug",
}
"""Keys of config.yaml with values that are not the defaults."""


def settings(**changed: object) -> Config:
    return Config.model_validate({"url": "http://192.0.2.1/alert"} | changed)


def said_at_start() -> set[str]:
    """Return the keys of config.yaml whose comment says that they are read at the start only."""
    said: set[str] = set()
    comment = ""
    for line in (ROOT / "config.yaml").read_text().splitlines():
        if line.startswith("#"):
            comment += f" {line.strip('# ')}"
        elif key := re.match(r"([a-z_]+):", line):
            if SAYING in comment:
                said.add(key[1])
            comment = ""
        elif not line:
            comment = ""
    return said


def test_config_yaml_says_of_each_key_what_is_declared() -> None:
    assert said_at_start() == set(at_start_keys(Config))
    assert (ROOT / "config.yaml").read_text().replace("\n#", "").count(SAYING) == len(said_at_start())


def test_the_readme_names_those_that_are_declared() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    (names,) = re.findall(r"but (`[^.;]+`) are read at the start only", text)
    assert set(re.findall(r"`(\w+)`", names)) == set(at_start_keys(Config))


def test_a_reload_takes_every_key_that_is_not_declared() -> None:
    running = settings()
    for key, value in OTHERS.items():
        applies, not_taken = taken(running, settings(**{key: value}))
        is_kept = key in set(at_start_keys(Config))
        assert not_taken == ([key] if is_kept else [])
        assert (getattr(applies, key) == getattr(running, key)) == is_kept
    assert set(at_start_keys(Config)) <= set(OTHERS)


def test_what_was_not_taken_is_said_until_it_is_written_as_it_runs() -> None:
    running = settings()
    for _ in range(2):
        running, not_taken = taken(
            running, settings(kernel=OTHERS["kernel"], store=OTHERS["store"], log="debug")
        )
        assert not_taken == ["kernel", "store"]
        assert (running.kernel.hooks, running.log) == ("auto", "debug")
    assert taken(running, settings()) == (settings(), [])


class Inner(Section):
    live: int = 1
    fixed: Annotated[int, AtStart()] = 1


class Outer(Section):
    inner: Inner = Inner()
    section: Annotated[Inner, AtStart()] = Inner()
    live: int = 1


def test_a_key_within_a_section_can_be_declared_too() -> None:
    other = Inner(live=2, fixed=2)
    assert list(at_start_keys(Outer)) == ["inner > fixed", "section"]
    assert taken(Outer(), Outer(inner=other, section=other, live=2)) == (
        Outer(inner=Inner(live=2), live=2),
        ["inner > fixed", "section"],
    )


def test_settings_that_stay_as_they_are_are_taken_whole(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"url": "http://user:s3cret@192.0.2.1/alert", **OTHERS}))
    assert taken(load(file), load(file)) == (load(file), [])
