# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The command line as an operator meets it: what it says and how it exits, also where it cannot run.

Not root: exit 3 with the remedy. A faulty configuration: exit 2, every fault with file and line, no traceback.
SIGTERM exits 0, SIGINT 130. The ready file appears when armed and goes away.
`check` and `demo` show what they promise.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.command_line import run
from tests.live.monitoring import sockbpf, start
from tests.live.waiting import until

NOBODY = [
    "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip
"""Another user, who may read the checkout wherever it lies."""


@pytest.mark.parametrize("command", ["run", "check", "demo"])
def test_not_root(config: Path, command: str) -> None:
    done = run(command, *(() if command == "demo" else ("-c", config)), before=NOBODY)
    assert done.returncode == 3
    assert done.stderr.startswith("needs root, ")
    assert "sudo sockbpf" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words", ["sockets --all", "sockets --summary", "explain -c {config} *:1", "check -c {config}"]
)
def test_an_output_that_takes_nothing_is_told_in_a_line(config: Path, words: str) -> None:
    typed = sockbpf(*words.format(config=config).split())
    with open("/dev/full", "w") as full:
        done = subprocess.run(typed, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "the output cannot be written: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_faulty_configuration(tmp_path: Path, command: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("url: ftp://127.0.0.1/\nthresholds:\n  send: lots\n  receive: 1MiB\nrepeat: 0s\n")
    done = run(command, "-c", path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:1", "url"],
        [f"{path}:3", "thresholds > send"],
        [f"{path}:4", "thresholds > receive"],
        [f"{path}:5", "repeat"],
    ]
    assert "expected a size such as 64KiB or 80%, got 'lots'" in lines[1]
    assert "did you mean 'recv'?" in lines[2]


@pytest.mark.parametrize("command", ["run", "check"])
def test_configuration_is_missing(tmp_path: Path, command: str) -> None:
    done = run(command)
    assert done.returncode == 2
    assert "-c FILE" in done.stderr
    done = run(command, "-c", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("command", ["check", "store"])
def test_options_of_another_command(config: Path, tmp_path: Path, command: str) -> None:
    ready = tmp_path / "ready"
    done = run(command, "-c", config, "--ready-file", ready)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: sockbpf {command} -c FILE\n")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not ready.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_and_the_ready_file(config: Path, stack: ExitStack, number: int, code: int) -> None:
    ready = config.with_suffix(".ready")
    ready.write_text("left by one that was killed")
    monitor = start(config, stack)
    until(lambda: not ready.exists() or not ready.read_text(), "the stale file gone")
    monitor.wait_armed()
    took_s = time.monotonic() - monitor.started
    print(f"armed after {took_s:.2f} s")
    assert took_s < 30
    assert ready.read_text() == ""
    assert monitor.stop(number) == code
    assert not ready.exists()
    assert "stopped, 0 alerts owed" in monitor.log()
    assert "Traceback" not in monitor.log()


def test_check(config: Path) -> None:
    done = run("check", "-c", config)
    assert done.returncode == 0, done.stdout + done.stderr
    for trial in ("TCP receive", "TCP send", "UDP receive"):
        assert re.search(rf"self-test {trial}: ok \d+ bytes reported, and its end", done.stdout), done.stdout
    assert done.stdout.endswith("ready\n")
    assert "\nall sockets are looked at by BPF iterators\n" in done.stdout
    armed = re.search(r"armed in (\d+\.\d+) s", done.stdout)
    assert armed
    print(f"check armed in {armed[1]} s")


def test_check_tells_why_sockets_are_looked_at_by_sock_diag(config: Path) -> None:
    config.write_text(config.read_text() + "kernel: {look: sock_diag}\n")
    done = run("check", "-c", config)
    assert done.returncode == 0, done.stdout + done.stderr
    reason = "the configuration says so: kernel > look: sock_diag"
    assert f"\nall sockets are looked at by sock_diag: {reason}\n" in done.stdout


def with_setting(tmp_path: Path, setting: str, value: str) -> list[str]:
    """Return a command that starts another where a setting of the kernel reads as another, for it alone."""
    shown = tmp_path / Path(setting).name
    shown.write_text(f"{value}\n")
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {shown} /proc/sys/{setting} && exec "$@"', "sh"]


def test_what_costs_more_is_said(config: Path, stack: ExitStack, tmp_path: Path) -> None:
    """By `check` and by the monitor, with what mends it; nothing where programs are compiled by the kernel."""
    remedy = "Remedy: sysctl net.core.bpf_jit_enable=1"
    for value in ("0", "1"):
        before = with_setting(tmp_path, "net/core/bpf_jit_enable", value)
        done = run("check", "-c", config, before=before)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (remedy in done.stdout) == (value == "0")
        monitor = start(config, stack, before=before)
        monitor.wait_armed()
        assert monitor.stop() == 0
        assert (f"costs. {remedy}" in monitor.log()) == (value == "0")


def test_what_is_left_out_is_said(config: Path, tmp_path: Path) -> None:
    if not Path("/proc/sys/net/mptcp/enabled").exists():
        pytest.skip("this kernel has no MPTCP")
    for value in ("1", "0"):
        done = run("check", "-c", config, before=with_setting(tmp_path, "net/mptcp/enabled", value))
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("left out: MPTCP connections" in done.stdout) == (value == "1")


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    done = run("demo")
    assert not (tmp_path / "run").exists()
    assert done.returncode == 0, done.stdout + done.stderr
    exceeded = re.search(r"event=exceeded *\n(?:.*\n)*?.*\bsize\b\D*(\d+)", done.stdout)
    assert exceeded
    assert exceeded[1] == "50000"
    assert re.search(r"reason\W+python3 \(pid \d+\) is stopped", done.stdout)
    assert "event=cleared" in done.stdout[exceeded.end() :]
    assert "nothing is left behind" in done.stdout


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"sockbpf \d+\.\d+\.\d+\n", done.stdout)
