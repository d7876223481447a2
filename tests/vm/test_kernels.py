# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor on stock kernels: the claims in short, with every choice of hooks and types that each can run."""

from __future__ import annotations

import re

import pytest

from tests.live.turns import today
from tests.vm.boot import boot
from tests.vm.kernels import CHOICES, KERNELS, Choice, choices
from tests.vm.results import RESULTS, Result

TEST_S = 900
"""How long the command may take; a fifth of it is enough on two cores with nothing else to do."""

COMMAND = (
    "export SOCKBPF_HOOKS={hooks} SOCKBPF_TYPES={types} PYTHONDONTWRITEBYTECODE=1; "
    "python3 -m pytest -p no:cacheprovider -x -s tests/live/test_short.py"
)
ONCE = (
    " tests/live/test_own.py::test_requests_and_answers"
    " tests/abi/test_crossing.py tests/live/test_short_looks.py tests/live/test_progress.py tests/live/test_look.py"
    " --deselect tests/live/test_look.py::test_what_a_full_table_left_out_is_found_soon"
)
"""A look at all sockets, what it finds stalled, that it takes none for the monitor's own, accept queues and rates are
tried once for each kernel, with the hooks that it would choose itself."""

OF_CAUSES = " tests/live/test_causes.py::test_each_cause_is_told --causes '{causes}'"

CAUSES = (
    *("peer_not_reading", "no_acknowledgement", "orphaned", "not_accepted", "peer_closed", "reader_stopped"),
    *("reader_not_reading", "udp_buffer_full", "accept_queue_full", "not_accepting", "lossy_path"),
)
"""Every second one is tried on a kernel, the others on the next one, and each day the other way round: all of them
take 40 s on each. Emulation is too slow for those that depend on how fast a reader or a stopped peer is."""

UDP_DRAINS = (
    "'tests/abi/test_udp_drains.py::test_bursts_are_told_apart_without_the_hook_of_drains[ipv4-one datagram]'"
)
FILL = "'tests/live/test_fill.py::test_the_share_is_exact[auto]'"
IN_TURNS = {
    "5.10": (UDP_DRAINS, FILL, "tests/live/test_rules.py::test_two_services_have_thresholds_of_their_own"),
    "6.1": ("'tests/live/test_rules.py::test_a_cgroup_decides[kernel]'",),
    "6.12": ("'tests/live/test_rules.py::test_a_process_and_an_ignored_one[answers]'",),
    "7": (UDP_DRAINS, FILL, "'tests/live/test_rules.py::test_a_prefix_decides[kernel]'"),
}
"""Drains of UDP, a threshold that is a share, rules: a part on each kernel, since all take two minutes.
Another processor takes no part in these, nor in causes: what they depend on is the kernel's version."""

CHECK = "python3 -m sockbpf check -c config.yaml"


def causes_of(kernel: str) -> str:
    """Return the scenes of causes that are this kernel's today."""
    turn = list(IN_TURNS).index(kernel) + today()
    return " ".join(CAUSES[turn % 2 :: 2])


def run(choice: Choice, command: str) -> tuple[int | None, str]:
    """Boot the choice's kernel and run the command; return its exit code and what it said."""
    outcome = boot(choice.kernel, command, TEST_S)
    passed = re.findall(r"(\d+ (?:passed|failed)[^\n]*?) in", outcome.output)
    armed = re.findall(r"armed after ([\d.]+) s", outcome.output)
    looks = re.findall(r"^looked at by: (.*)$", outcome.output, re.MULTILINE)
    RESULTS.append(
        Result(
            choice,
            outcome.release,
            passed[-1] if passed else "none",
            outcome.boot_s,
            armed[0] if armed else "",
            looks[0] if looks else "",
            outcome.whole_s,
            tuple(re.findall(r"^seen: (.*)$", outcome.output, re.MULTILINE)),
        )
    )
    return outcome.code, f"{outcome.output}\n--- console\n{outcome.console[-4000:]}"


def has_turn(choice: Choice) -> bool:
    """Tell whether a choice is today's: what a kernel chooses itself always, every third one of its others."""
    others = [other for other in choices(choice.kernel) if not other.is_own]
    turn = KERNELS.index(choice.kernel) + today()
    return choice.is_own or (others.index(choice) + turn) % 3 == 0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_claims_hold(choice: Choice, pytestconfig: pytest.Config) -> None:
    if not has_turn(choice) and not pytestconfig.getoption("--every-choice"):
        pytest.skip("tomorrow's: --every-choice tries all")
    once = ""
    if choice.is_own:
        name = choice.kernel.name
        once = ONCE
        if name in IN_TURNS:
            once += " ".join((OF_CAUSES.format(causes=causes_of(name)), *IN_TURNS[name]))
    code, said = run(choice, COMMAND.format(hooks=choice.hooks, types=choice.types) + once)
    assert code == 0, said


@pytest.mark.timeout(1200)
def test_a_hook_that_never_fires_is_named() -> None:
    """The canary: with one hook put where nothing passes the guest's tests fail, and its self-test says which."""
    elsewhere = (
        'sed -i \'s/_kp("sock_def_readable")/_kp("tcp_v4_mtu_reduced", "kp_sock_def_readable")/\' '
        "sockbpf/kernel/build/hooks.py; grep -q tcp_v4_mtu_reduced sockbpf/kernel/build/hooks.py; "
        "sed -i 's/^DEADLINE_S = .*/DEADLINE_S = 10/' tests/live/waiting.py; "
    )
    tests = COMMAND.format(hooks="auto", types="auto")
    code, said = run(CHOICES[0], f"{elsewhere} {CHECK} || echo check: $?; {tests} -k 'bursts and ipv4'")
    RESULTS.pop()
    assert "check: 3" in said
    assert "TCP receive grows, by kprobe tcp_v4_mtu_reduced: no event" in said
    assert "FAILED tests/live/test_short.py::test_bursts[ipv4]" in said
    assert code == 1, said
