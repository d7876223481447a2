# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The command line as an operator meets it: what it says and how it exits, also where it cannot run.

Not root: exit 3 with the remedy. Without BCC, and without any description of the kernel's types: the monitor says the
remedy and polls, `check` exits 3. A faulty configuration: exit 2, every fault with file and line, no traceback.
SIGTERM exits 0, SIGINT 130. The ready file appears when armed and goes away.
A compiler that is killed, fails or talks nonsense: the monitor says so and polls. Stopped or killed while it compiles
it leaves no compiler behind.
`check` and `demo` show what they promise.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.live.monitoring import Monitor, compilers, sockbpf, start, thresholds, with_bcc
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011
NOBODY = [
    "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip
"""Another user, who may read the checkout wherever it lies."""

NO_TYPES = [
    "unshare", "--mount", "sh", "-c",
    'mount -t tmpfs none "$1" && { [ ! -d "$2" ] || mount -t tmpfs none "$2"; } && shift 2 && exec "$@"',
    "sh", "/sys/kernel/btf", "/lib/modules",
]  # fmt: skip
"""A mount namespace in which neither BTF nor header packages are to be found."""

HEADERS = f"/lib/modules/{os.uname().release}/build"


@pytest.fixture
def config(tmp_path: Path, receiver: Receiver) -> Path:
    path = tmp_path / "config.yaml"
    settings = {
        "url": receiver.url,
        "thresholds": thresholds(THRESHOLD),
        "events": ["exceeded", "cleared"],
        "journal": {"path": str(tmp_path / "journal")},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def no_bcc(tmp_path: Path) -> list[str]:
    """Return the command that runs another where BCC cannot be imported."""
    return with_bcc(tmp_path, 'raise ImportError("no bcc here")')


def run(*arguments: str | Path, before: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of sockbpf to its end; no traceback, whatever it is."""
    command = [*(before or []), *sockbpf(*map(str, arguments))]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def assert_it_polls(monitor: Monitor, receiver: Receiver, stack: ExitStack) -> None:
    monitor.wait_armed()
    assert "polling every 1 s instead, mode=poll" in monitor.log()
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert (told["mode"], told["size"]) == ("poll", str(UNREAD))
    drain(server, UNREAD)
    receiver.first(event="cleared", id=told["id"], mode="poll")
    assert monitor.stop() == 0
    assert "Traceback" not in monitor.log()


@pytest.mark.parametrize("command", ["run", "check", "demo"])
def test_not_root(config: Path, command: str) -> None:
    done = run(command, *(() if command == "demo" else ("-c", config)), before=NOBODY)
    assert done.returncode == 3
    assert done.stderr.startswith("needs root, ")
    assert "sudo sockbpf" in done.stderr
    assert done.stdout == ""


def test_check_without_bcc(config: Path, no_bcc: list[str]) -> None:
    done = run("check", "-c", config, before=no_bcc)
    assert done.returncode == 3
    assert "apt-get install python3-bpfcc" in done.stderr


def test_monitor_without_bcc(config: Path, no_bcc: list[str], receiver: Receiver, stack: ExitStack) -> None:
    monitor = start(config, stack, before=no_bcc)
    assert_it_polls(monitor, receiver, stack)
    assert re.search("WARNING no hooks: BCC's .* apt-get install python3-bpfcc", monitor.log())


def test_check_without_types(config: Path) -> None:
    done = run("check", "-c", config, before=NO_TYPES)
    assert done.returncode == 3
    assert f"neither /sys/kernel/btf/vmlinux nor {HEADERS}" in done.stderr
    assert f"apt-get install linux-headers-{os.uname().release}" in done.stderr


def test_monitor_without_types(config: Path, receiver: Receiver, stack: ExitStack) -> None:
    monitor = start(config, stack, before=NO_TYPES)
    assert_it_polls(monitor, receiver, stack)
    assert f"neither /sys/kernel/btf/vmlinux nor {HEADERS}" in monitor.log()


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
    assert "expected a size such as 64KiB, got 'lots'" in lines[1]
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


def compilers_at_work(monitor: Monitor) -> list[int]:
    """Wait until the monitor's compiling processes have BCC, of the hooks and of the look; return their numbers."""

    def at_work() -> list[int] | None:
        numbers = compilers(monitor.pid)
        busy = [number for number in numbers if "libbcc" in Path(f"/proc/{number}/maps").read_text()]
        return busy if len(busy) == 2 else None

    found: list[int] = until(at_work, "BCC at work, twice")
    return found


def ended(numbers: list[int]) -> bool:
    return not any(Path(f"/proc/{number}").exists() for number in numbers)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stopped_while_starting(config: Path, stack: ExitStack, number: int, code: int) -> None:
    monitor = start(config, stack)
    numbers = compilers_at_work(monitor)
    assert monitor.stop(number) == code
    assert ended(numbers)
    assert "Traceback" not in monitor.log()


def test_killed_while_starting(config: Path, stack: ExitStack) -> None:
    """What it compiles for nobody is not compiled to the end, and nobody is left."""
    monitor = start(config, stack)
    numbers = compilers_at_work(monitor)
    for each in numbers:
        os.kill(each, signal.SIGSTOP)  # else it might end by itself
    assert monitor.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: ended(numbers), "the compilers gone")


def test_the_compilers_are_killed(config: Path, receiver: Receiver, stack: ExitStack) -> None:
    monitor = start(config, stack)
    for number in compilers_at_work(monitor):
        os.kill(number, signal.SIGKILL)
    assert_it_polls(monitor, receiver, stack)
    assert "WARNING no hooks: the compiler was killed. Remedy: " in monitor.log()
    assert "looked at by sock_diag, no BPF iterators: the compiler was killed. Remedy: " in monitor.log()


SPOILED = {
    "nothing": ("raise SystemExit(0)", "the compiler's answer makes no sense: b''"),
    "a crash": (
        "import os; os.write(2, b'LLVM ERROR: no memory'); os.abort()",
        "the compiler ended by SIGABRT\nLLVM ERROR: no memory",
    ),
    "of another Python": ("import imp_gone", "BCC's Python module is missing: apt-get install python3-bpfcc"),
    "of another LLVM": (
        "raise RuntimeError('no LLVM 13')",
        "BCC's Python module does not work here: RuntimeError('no LLVM 13')",
    ),
}
"""What a `bcc` does when it is imported, and what the monitor says of it."""


@pytest.mark.parametrize("what", SPOILED)
def test_the_compiler_fails(
    config: Path, receiver: Receiver, stack: ExitStack, tmp_path: Path, what: str
) -> None:
    text, said = SPOILED[what]
    monitor = start(config, stack, before=with_bcc(tmp_path, text))
    assert_it_polls(monitor, receiver, stack)
    assert f"WARNING no hooks: {said}" in monitor.log()


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
    assert "event=cleared" in done.stdout[exceeded.end() :]
    assert "nothing is left behind" in done.stdout


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"sockbpf \d+\.\d+\.\d+\n", done.stdout)
