# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A newcomer adds a destination by CONTRIBUTING alone: what is done here in a copy is what stands there, as text.

Its steps take three files of code; its test passes, the settings take it, alerts arrive; nobody reads for long.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.copies import ROOT, changed, copied, not_named, replace_once, run, section

TITLE = "To add a destination"
CODE = {
    "sockbpf/delivery/destinations/spool.py",
    "sockbpf/settings/destinations.py",
    "sockbpf/delivery/destinations/table.py",
}
BESIDE = {"config.yaml", "tests/unit/test_spool.py"}
COPIED = ["sockbpf", "tests/unit", "tests/conftest.py", "config.yaml", "pyproject.toml", "README.md"]
WORDS_A_MINUTE = 200
MINUTES = 15

PROGRAM = """
import sys
from pathlib import Path
import sockbpf
from sockbpf.monitor.rehearsal import maker_of, rehearse
from sockbpf.settings.config import load

print(sockbpf.__file__)
config = load(Path(sys.argv[1]))
rehearse(config)
(spool,) = [maker_of(its)() for its in config.destinations if its.type == "spool"]
spool.send({
    "timestamp": "1795343123.5", "event": "exceeded", "protocol": "tcp", "local_ip": "192.0.2.1", "local_port": "443",
    "type": "RECV", "size": "2003", "threshold": "1009", "id": "0a", "seq": "7", "host": "web1",
})
"""


def steps() -> Iterator[tuple[str, str, str]]:
    """Yield for each step the file that it names first, the kind of its block, and what is in the block."""
    for _, file, kind, block in re.findall(
        r"^(\d+)\. [^`]*`([^`]+)`.*?^```(\w+)\n(.*?)^```$", section(TITLE), re.DOTALL | re.MULTILINE
    ):
        yield file, kind, block


def edit(file: Path, diff: str) -> None:
    """Do what a diff says; each of its parts stands in the file once."""
    for part in diff.split("@@\n"):
        lines = part.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
        replace_once(file, old, new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree in which the steps were done."""
    tree = copied(tmp_path_factory.mktemp("newcomer") / "tree", COPIED)
    for file, kind, block in steps():
        if kind == "diff":
            edit(tree / file, block)
        else:
            (tree / file).write_text(block)
    return tree


def test_it_takes_three_files_of_code_and_all_are_named(copy: Path) -> None:
    assert changed(copy) == CODE | BESIDE
    assert len(CODE) == 3
    assert not not_named(CODE | BESIDE, TITLE)


def test_its_own_test_and_those_of_the_settings_pass(copy: Path) -> None:
    selected = "spool or shipped or required or one_run or no-type"
    names = ("spool", "config", "config_required", "destination_settings", "destination_options")
    paths = [f"tests/unit/test_{name}.py" for name in names]
    out = run(
        copy, "-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:cacheprovider", "-k", selected, *paths
    )
    assert re.search(r"^\d\d+ passed", out, re.MULTILINE), out


def test_alerts_arrive_by_it(copy: Path, tmp_path: Path) -> None:
    folder, config = tmp_path / "spool", tmp_path / "config.yaml"
    folder.mkdir()
    config.write_text(f"url: http://127.0.0.1:9/\ndestinations:\n  - {{type: spool, folder: {folder}}}\n")
    assert run(copy, "-c", PROGRAM, str(config)).startswith(str(copy))
    assert "192.0.2.1:443" in (folder / "0a-7").read_text()


def test_what_is_written_there_is_laid_out_as_all_code(copy: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("no ruff here")
    files = sorted(file for file in CODE | BESIDE if file.endswith(".py"))
    for command in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        done = subprocess.run([ruff, *command, *files], cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_newcomer_has_read_it_in_a_quarter_of_an_hour() -> None:
    """README up to old kernels, of CONTRIBUTING what stands before its first section, where things are, the steps."""
    readme, contributing = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    texts = [
        readme.partition("\n### On an old kernel\n")[0],
        contributing.partition("\n## ")[0],
        section("Where things are"),
        section("The way of one event"),
        section(TITLE),
    ]
    minutes = sum(len(text.split()) for text in texts) / WORDS_A_MINUTE
    print(f"{minutes:.1f} minutes of reading")
    assert 1 < minutes < MINUTES
