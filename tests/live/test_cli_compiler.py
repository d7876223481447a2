# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Without a compiler the monitor polls and says the remedy: `check` exits 3 then.

Without BCC, and without any description of the kernel's types. A compiler that is killed, fails or talks nonsense:
the monitor says so and polls. Stopped or killed while it compiles it leaves no compiler behind.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.live.command_line import UNREAD, run
from tests.live.monitoring import Monitor, compilers, start, with_bcc
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until

pytestmark = pytest.mark.usefixtures("compiling")

NO_TYPES = [
    "unshare", "--mount", "sh", "-c",
    'mount -t tmpfs none "$1" && { [ ! -d "$2" ] || mount -t tmpfs none "$2"; } && shift 2 && exec "$@"',
    "sh", "/sys/kernel/btf", "/lib/modules",
]  # fmt: skip
"""A mount namespace in which neither BTF nor header packages are to be found."""

HEADERS = f"/lib/modules/{os.uname().release}/build"


@pytest.fixture
def no_bcc(tmp_path: Path) -> list[str]:
    """Return the command that runs another where BCC cannot be imported."""
    return with_bcc(tmp_path, 'raise ImportError("no bcc here")')


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


def compilers_at_work(monitor: Monitor) -> list[int]:
    """Wait until the monitor's compiling processes have BCC, of the hooks and of the look; return their numbers."""
    seen: set[int] = set()

    def at_work() -> list[int] | None:
        for number in compilers(monitor.pid):
            with suppress(OSError):  # it has ended
                if "libbcc" in Path(f"/proc/{number}/maps").read_text():
                    seen.add(number)
        return sorted(seen) if len(seen) == 2 else None

    found: list[int] = until(at_work, "BCC at work, twice")
    return found


def ended(numbers: list[int]) -> bool:
    return not any(Path(f"/proc/{number}").exists() for number in numbers)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stopped_while_starting(config: Path, stack: ExitStack, number: int, code: int) -> None:
    monitor = start(config, stack)
    numbers = compilers_at_work(monitor)
    assert monitor.stop(number) == code
    until(lambda: ended(numbers), "the compilers have been reaped", 5)
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
