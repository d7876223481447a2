# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Installed as a package, far from any checkout, it is whole: the C goes along, and works on this kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PARTS = ("bpf", "sockbpf", "LICENSE", "LICENSES", "pyproject.toml", "README.md")
"""What a package is made of; the image takes the same."""

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must not fail; return what it said."""
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment of the distribution's interpreter that the wheel was installed in."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = (
        folder / "copy"
    )  # what a build leaves behind does not come into the checkout, nor the other way round
    copy.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        shutil.copytree(source, copy / part) if source.is_dir() else shutil.copy(source, copy)
    pip = ("-m", "pip", "-q", "--disable-pip-version-check")
    run(sys.executable, *pip, "wheel", "--no-deps", "-w", folder, copy, cwd=folder)
    shutil.rmtree(copy)
    (wheel,) = folder.glob("sockbpf-*.whl")
    run("/usr/bin/python3", "-m", "venv", "--system-site-packages", folder / "venv", cwd=folder)
    run(folder / "venv/bin/python", *pip, "install", wheel, cwd=folder)
    return folder / "venv"


def test_the_c_goes_along(installed: Path) -> None:
    where = "from sockbpf.kernel.build.source import SOURCE; print(SOURCE)"
    source = Path(run(installed / "bin/python", "-c", where, cwd=installed).strip())
    assert source.is_relative_to(installed)
    wanted = {path.relative_to(REPOSITORY / "bpf") for path in REPOSITORY.glob("bpf/**/*.[ch]")}
    assert wanted
    assert {path.relative_to(source) for path in source.glob("**/*.[ch]")} == wanted


def test_the_licences_go_along(installed: Path) -> None:
    (metadata,) = installed.glob("lib/python3*/site-packages/sockbpf-*.dist-info")
    assert "License-Expression: GPL-2.0-only OR Apache-2.0\n" in (metadata / "METADATA").read_text()
    kept = {path.name for path in metadata.glob("licenses/**/*") if path.is_file()}
    assert kept == {"LICENSE", "GPL-2.0-only.txt", "Apache-2.0.txt"}


def test_check(installed: Path) -> None:
    config = installed / "config.yaml"
    config.write_text(yaml.safe_dump({"url": "http://127.0.0.1:9/"}))
    assert run(installed / "bin/sockbpf", "check", "-c", config, cwd=installed).endswith("ready\n")
