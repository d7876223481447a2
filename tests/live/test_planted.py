# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Root stands in a folder where anyone may write: nothing of what lies there is run, whatever the command.

The folder has a module or a package of every name that Python, our libraries or sockbpf itself import. Each says that
it ran, and what started it. The commands are the installed ones, which start children: the compiler, the store, the
demo's monitor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from sockbpf.process.isolated import command
from tests.live.monitoring import thresholds
from tests.live.ports import free_port
from tests.live.waiting import until

SOCKBPF = Path(sys.executable).with_name("sockbpf")
"""As `make setup` puts it there."""

PLANTED = (
    "import os; os.write(os.open({mark!r}, os.O_WRONLY | os.O_APPEND), b'{name} ran\\n'); raise ImportError\n"
)
PROGRAMS = ("bpftool", "gcc", "ldconfig", "modprobe", "python3", "sh", "ss", "tar", "uname")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Make the file in which what was planted says that it ran."""
    made = tmp_path / "ran"
    made.touch()
    return made


@pytest.fixture
def planted(tmp_path: Path, mark: Path) -> Path:
    """Make the folder."""
    folder = tmp_path / "planted"
    folder.mkdir()
    names = (
        sys.stdlib_module_names | packages_distributions().keys() | {"sitecustomize", "usercustomize", "bcc"}
    )
    for name in filter(str.isidentifier, names):
        text = PLANTED.format(mark=str(mark), name=name)
        (folder / f"{name}.py").write_text(text)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
        (folder / name / "__main__.py").write_text(text)
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho '{name} ran' >>{mark}\nexit 1\n")
        (folder / name).chmod(0o755)
    (folder / "config.yaml").write_text("url: ''\n")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    listen = f"127.0.0.1:{free_port()}"
    settings = {
        "url": f"http://{listen}/alert",
        "thresholds": thresholds(1 << 30),
        "journal": {"path": str(tmp_path / "journal.sqlite")},
        "store": {"listen": listen, "user": "root", "database": f"sqlite:///{tmp_path}/store/alerts.sqlite"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_what_is_planted_does_run_where_python_is_asked_to(planted: Path, mark: Path) -> None:
    """Or the tests below would see nothing, whatever happens."""
    subprocess.run([sys.executable, "-m", "argparse"], cwd=planted, check=False, capture_output=True)
    assert " ran\n" in mark.read_text()


@pytest.mark.parametrize("asked", ["check", "demo"])
def test_a_command_that_ends(planted: Path, mark: Path, config: Path, asked: str) -> None:
    options = ["-c", str(config)] if asked == "check" else []
    command = [str(SOCKBPF), asked, *options]
    done = subprocess.run(command, cwd=planted, capture_output=True, text=True, timeout=200, check=False)
    assert mark.read_text() == ""
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("asked", ["run", "store"])
def test_a_command_that_stays(planted: Path, mark: Path, config: Path, asked: str) -> None:
    log = config.with_suffix(".log")
    options = ["-c", str(config), *(["--beside"] if asked == "run" else [])]
    command = [str(SOCKBPF), asked, *options]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=planted, stdout=sink, stderr=sink)
    try:
        wanted = ["the store listens: ", *(["armed: "] if asked == "run" else [])]
        until(
            lambda: (
                all(words in log.read_text() for words in wanted)
                or process.poll() is not None
                or mark.stat().st_size
            ),
            asked,
            200,
        )
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log.read_text()
    assert mark.read_text() == ""
    assert "no hooks" not in log.read_text()
    assert "the store has ended, " not in log.read_text()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("sockbpf", b"usage: sockbpf"),
        ("sockbpf.kernel.build.clang", b"not enough values to unpack|IndexError"),
    ],
)
def test_a_child_wherever_the_environment_points(planted: Path, mark: Path, module: str, said: bytes) -> None:
    environment = os.environ | {
        "PYTHONPATH": f":{planted}",
        "PYTHONHOME": str(planted),
        "PYTHONSTARTUP": "json.py",
    }
    done = subprocess.run(
        command(module), cwd=planted, env=environment, capture_output=True, check=False, timeout=60
    )
    assert any(words in done.stderr for words in said.split(b"|")), done.stderr
    assert mark.read_text() == ""


def test_a_child_runs_the_code_of_its_parent(tmp_path: Path) -> None:
    """Wherever that lies, and whatever is installed."""
    package = tmp_path / "sockbpf"
    (package / "inner").mkdir(parents=True)
    source = Path(command("")[2])
    (package / source.parent.name).mkdir()
    script = package / source.parent.name / source.name
    script.write_text(source.read_text())
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "said.py").write_text("import sys, sockbpf; print(sockbpf.__file__, *sys.argv)")
    asked = [sys.executable, "-I", str(script), "sockbpf.inner.said", "-x", "y"]
    done = subprocess.run(asked, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        str(package / "__init__.py"),
        str(package / "inner" / "said.py"),
        "-x",
        "y",
    ]
