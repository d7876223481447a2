# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A setting that is added as CONTRIBUTING says takes three files, is judged by, and is taken by a reload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.copies import changed, copied, not_named, replace_once, run

EDITS = {
    "sockbpf/settings/config.py": (
        "    flapping: FlappingSettings = FlappingSettings()\n",
        (
            '    grace: Annotated[float, duration("0s", "1h")] = 0.0\n'
            "    flapping: FlappingSettings = FlappingSettings()\n"
        ),
    ),
    "config.yaml": ("hold: auto\n", "hold: auto\n\n# Added to `hold`.\ngrace: 0s\n"),
    "sockbpf/monitor/terms.py": ("int(config.hold_s * 1e9)", "int((config.hold_s + config.grace) * 1e9)"),
}
"""File -> what stands in it, and what is to stand there."""

PROGRAM = """
import json, sys
from pathlib import Path
import sockbpf
from sockbpf.errors import ConfigError
from sockbpf.monitor.terms import levels_of
from sockbpf.record.event import Direction
from sockbpf.settings.at_start import taken
from sockbpf.settings.config import Config, load
from tests.unit.written_settings import keys_of, keys_written

def written(text):
    file = Path(sys.argv[1])
    file.write_text("url: http://192.0.2.1/\\n" + text)
    return load(file)

def fault(text):
    try:
        return written(text)
    except ConfigError as error:
        return str(error)

plain, other = written(""), written("hold: 1s\\ngrace: 2s")
shipped = Path("config.yaml")
whole = keys_written(shipped) == keys_of(Config)
shipped.write_text(shipped.read_text().replace("grace: 0s\\n", ""))
applies, not_taken = taken(plain, other)
print(json.dumps({
    "from": sockbpf.__file__,
    "hold_ns": [levels_of(config)(None, Direction.RECV).hold_ns for config in (plain, other)],
    "reloaded": [applies.grace, not_taken],
    "too long": fault("grace: 2h"),
    "every key is written": [whole, keys_written(shipped) == keys_of(Config)],
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the tree in which the setting `grace` was added."""
    tree = copied(tmp_path / "tree", ["sockbpf", "tests/unit", "config.yaml"])
    for path, (old, new) in EDITS.items():
        replace_once(tree / path, old, new)
    return tree


def test_a_setting_takes_three_files_and_all_are_named(copy: Path) -> None:
    files = changed(copy)
    assert files == set(EDITS)
    assert len(files) == 3
    assert not not_named(files, "To add a setting")


def test_it_is_gone_by_reloaded_bounded_and_asked_for_in_the_shipped_file(copy: Path, tmp_path: Path) -> None:
    out = json.loads(run(copy, "-c", PROGRAM, str(tmp_path / "config.yaml")))
    assert out["from"].startswith(str(copy))
    assert out["hold_ns"] == [10 * 10**9, 3 * 10**9]
    assert out["reloaded"] == [2.0, []]
    assert "grace: expected a duration" in out["too long"]
    assert out["every key is written"] == [True, False]
