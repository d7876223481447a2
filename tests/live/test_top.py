# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf top` in a real terminal: keys are typed into tmux, and screens are compared by what they say."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.live.command_line import run
from tests.live.monitoring import StartMonitor, sockbpf, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import hand_over, port, tcp_pair
from tests.live.terminals import Terminal, terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looking at all sockets needs root")

UNREAD = 5003
SETTINGS = f"url: http://127.0.0.1:9/\nthresholds: {{send: 1MiB, recv: {UNREAD - 2}}}\nhold: 0s\n"
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
NOBODY = ("--socket", "/nonexistent")
WITHOUT_TEXTUAL = "import sys; sys.modules['textual'] = None; from sockbpf.cli import main; sys.exit(main())"
A_FAULT = """
import sys
from sockbpf.monitor import live_looks
from sockbpf.cli import main
take, looks = live_looks.glance, []
def glance(*arguments, **options):
    looks.append(1)
    if len(looks) > 1:
        raise {fault}
    return take(*arguments, **options)
live_looks.glance = glance
sys.exit(main())
"""
A_DRAWING_FAULT = """
import sys
from sockbpf.cli import main
from sockbpf.screen.state import State
def parts(state, width, height):
    if state.moment:
        raise KeyError("odd")
    return []
State.parts = parts
sys.exit(main())
"""
HOSTILE = "e\x1b[41m\x9b31m\x07"
HOLDS = """
import socket, sys
open("/proc/self/comm", "wb").write(sys.argv[1].encode())
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
held = listener.accept()[0]
client.sendall(bytes(5003))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""
Open = Callable[..., Terminal]


@pytest.fixture
def folder(stack: ExitStack) -> Path:
    """Return a folder with a name that is short enough for a server's socket."""
    path = Path(stack.enter_context(TemporaryDirectory(prefix="sb-")))
    (path / "config.yaml").write_text(SETTINGS)
    return path


@pytest.fixture
def opened(stack: ExitStack, folder: Path) -> Open:
    """Return what opens a terminal with `sockbpf top` in it."""

    def start(
        *arguments: str, size: tuple[int, int] = (80, 24), program: str = "", before: str = ""
    ) -> Terminal:
        command = [sys.executable, "-c", program, "top"] if program else sockbpf("top")
        settings = ["-c", str(folder / "config.yaml")]
        line = before + shlex.join([*command, *settings, *(arguments or NOBODY)])
        made: AbstractContextManager[Terminal] = terminal(folder / "tmux", line, size)
        return stack.enter_context(made)

    return start


@pytest.fixture
def here(stack: ExitStack) -> int:
    """Return the local port of a socket that is not read, over its threshold."""
    ours, theirs = tcp_pair(stack)
    ours.sendall(bytes(UNREAD))
    number = port(theirs)
    hand_over(stack, theirs)
    return number


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
@pytest.mark.parametrize("before", ["", "NO_COLOR=1 "])
def test_keys_are_answered(size: tuple[int, int], before: str, opened: Open, here: int) -> None:
    seen = opened(*NOBODY, size=size, before=before)
    seen.shows("not empty", "q quit")
    seen.press("/", f"port:{here}")
    seen.shows(f"filter: port:{here}_", "RECV size", "5003")
    assert bool(COLOUR.search(seen.screen("-e"))) == (not before)
    seen.press("Enter", "Down", "Enter")
    seen.shows(
        "RECV",
        "threshold 5001",
        f"127.0.0.1:{here} to",
        "RECV size: reader-not-reading",
        "has read nothing for",
    )
    seen.press("Escape", "g")
    seen.shows("grouped by process", " 1       1    5003")
    seen.press("Enter")
    seen.shows("only process", str(here))
    seen.press("Escape")
    seen.shows("grouped by process")
    seen.press("?")
    seen.shows("choose a row", "filter as you type")
    seen.press("?", "p")
    seen.shows("PAUSED", "grouped by process")
    seen.press("q")
    seen.shows("ENDED 0")
    assert seen.is_as_before()


def test_what_is_typed_fast_is_not_lost(opened: Open, here: int) -> None:
    seen = opened()
    seen.shows("not empty")
    text = f"port:{here} tcp state:ESTAB 127.0.0.1"
    seen.type(f"/{text}")
    seen.shows(f"filter: {text}_", "5003")
    seen.press("Escape")
    seen.shows("q quit", without="filter:")
    seen.tmux("set-buffer", f"port:{here}\n")
    seen.press("/")
    seen.tmux("paste-buffer", "-p")
    seen.shows(f"filter: port:{here}_")


def test_every_column_sorts_and_every_size_is_drawn(opened: Open, here: int) -> None:
    seen = opened("--filter", f"port:{here}", *NOBODY)
    for column in ("recv", "send", "fill", "still", "drops", "proto", "state", "local", "remote", "process"):
        seen.shows("RECV size")
        seen.press("s")
        seen.shows(f"sorted by {column}")
    for size in ((30, 8), (12, 2), (200, 50), (1, 1), (80, 24)):
        seen.resize(*size)
        if size[0] > len("5003") * 7:
            seen.shows("5003")
    seen.shows("sorted by process", "q quit")


def test_a_socket_that_is_gone_stays_a_while(opened: Open) -> None:
    with ExitStack() as stack:
        ours, theirs = tcp_pair(stack)
        ours.sendall(bytes(UNREAD))
        here = port(theirs)
        seen = opened("--filter", f"port:{here}", *NOBODY)
        seen.shows("RECV size", "5003")
        theirs.recv(UNREAD)
        seen.shows("ended", "5003", without="RECV size")


def test_a_name_with_control_characters_is_not_drawn_raw(opened: Open, stack: ExitStack) -> None:
    command = [sys.executable, "-c", HOLDS, HOSTILE]
    child = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    stack.callback(child.kill)
    assert child.stdout
    seen = opened("--filter", f"local-port:{int(child.stdout.readline())}", *NOBODY, size=(200, 50))
    seen.shows(r"e\x1b[41m\x9b31m\x07")
    assert "\x1b[41m" not in seen.screen("-e")


@pytest.mark.parametrize("program", ["", WITHOUT_TEXTUAL])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_as_before(
    program: str, number: signal.Signals, opened: Open, here: int
) -> None:
    seen = opened("--filter", f"port:{here}", *NOBODY, program=program)
    seen.shows("5003")
    seen.signal(number)
    seen.shows("ENDED 0")
    assert seen.is_as_before()


@pytest.mark.parametrize("program", ["", WITHOUT_TEXTUAL])
def test_ctrl_c_ends_it(program: str, opened: Open) -> None:
    seen = opened(program=program)
    seen.shows("not empty", "keys need" if program else "q quit")
    seen.press("C-c")
    seen.shows("ENDED 130")
    assert seen.is_as_before()


@pytest.mark.parametrize(
    ("fault", "said"), [("OSError(5, 'it broke')", "it broke"), ("KeyError('odd')", "KeyError: 'odd'")]
)
def test_a_look_that_fails_ends_it_with_a_word(fault: str, said: str, opened: Open) -> None:
    seen = opened(program=A_FAULT.format(fault=fault), size=(120, 60))
    seen.shows(said, "ENDED 1")
    assert seen.is_as_before()
    assert ("Traceback" in seen.screen()) == ("KeyError" in fault)


def test_a_screen_that_cannot_be_drawn_ends_it(opened: Open) -> None:
    seen = opened(program=A_DRAWING_FAULT, size=(120, 60))
    seen.shows("KeyError: 'odd'", "ENDED 1")
    assert seen.is_as_before()


def test_without_its_terminal_it_ends_though_no_signal_says_so(opened: Open) -> None:
    seen = opened(before="trap '' HUP; ")  # an ignored signal stays ignored in what a shell runs
    seen.shows("not empty")


def test_nobody_types_where_the_input_is_no_terminal(opened: Open, here: int) -> None:
    seen = opened("--filter", f"port:{here}", *NOBODY, before="</dev/null ")
    seen.shows("5003", "keys need")
    seen.press("C-c")
    seen.shows("ENDED 130")


def test_what_is_over_is_what_the_running_monitor_says(
    opened: Open, start_monitor: StartMonitor, receiver: Receiver, folder: Path, here: int
) -> None:
    ours = {"match": {"local_port": [here]}, "thresholds": {"recv": UNREAD - 1}, "severity": "critical"}
    start_monitor(
        thresholds=thresholds(1 << 30), hold="0s", rules=[ours], status={"socket": str(folder / "m")}
    )
    receiver.first(event="exceeded", local_port=here, type="RECV")
    seen = opened("--filter", f"port:{here}", "--socket", str(folder / "m"), size=(200, 50))
    seen.shows("by the running monitor", "RECV size")
    assert re.search(r"\d+s RECV size", seen.screen()), seen.screen()


def test_a_socket_of_no_monitor_is_said(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "m"))
    shown = run("top", "--once", "--socket", folder / "m")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "by thresholds (no monitor)" in shown.stdout
    assert f"no monitor answers at {folder / 'm'}" in shown.stdout


def test_one_frame_says_why_a_queue_is_over(folder: Path, here: int) -> None:
    shown = run("top", "--once", "-c", folder / "config.yaml", "--filter", f"port:{here}", *NOBODY)
    assert shown.returncode == 0
    assert "not empty" in shown.stdout
    assert re.search(r"RECV size .*5003", shown.stdout)


def test_one_frame_in_a_pipe_has_room_for_the_reason(folder: Path, here: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = sockbpf("top", "--once", "-c", str(folder / "config.yaml"), "--filter", f"port:{here}", *NOBODY)
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"127.0.0.1:{here}" in shown
    assert "RECV size" in shown


def test_a_filter_that_makes_no_sense_is_refused() -> None:
    refused = run("top", "--once", "--filter", "colour:red")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no such filter: colour" in refused.stderr
