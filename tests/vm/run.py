# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`python -m tests.vm.run [--kernel 6.1] -- COMMAND`: a command of the checkout under stock kernels, one by one."""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys

from rich.console import Console
from rich.table import Table

from tests.vm.boot import Outcome, boot
from tests.vm.kernels import KERNELS, named
from tests.vm.packages import CACHE, PackagesError

CONSOLE_TAIL = 4000


def main() -> int:
    """Boot, run, show; return 0 if the command returned 0 under every kernel."""
    door = argparse.ArgumentParser(prog="python -m tests.vm.run", description=__doc__)
    door.add_argument("--kernel", action="append", choices=[kernel.name for kernel in KERNELS])
    door.add_argument("--timeout", type=int, default=90, help="seconds that the command may take, default 90")
    door.add_argument("command", nargs="+", help="for bash, in the checkout; one argument may be a script")
    arguments = door.parse_args()
    command = arguments.command[0] if len(arguments.command) == 1 else shlex.join(arguments.command)
    names = arguments.kernel or [kernel.name for kernel in KERNELS]
    outcomes = []
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one guest at a time: a second one makes both too slow
        for name in names:
            try:
                outcome = boot(named(name), command, arguments.timeout)
            except PackagesError as reason:
                print(reason, file=sys.stderr)
                return 1
            show(outcome)
            outcomes.append(outcome)
    report(outcomes)
    return 0 if all(outcome.code == 0 for outcome in outcomes) else 1


def show(outcome: Outcome) -> None:
    """Print what the command said and, if the guest failed it, what the kernel said last."""
    print(f"--- {outcome.kernel}: {outcome.release}\n{outcome.output}", flush=True)
    if outcome.code is None:
        print(f"--- its console\n{outcome.console[-CONSOLE_TAIL:]}", flush=True)


def report(outcomes: list[Outcome]) -> None:
    table = Table("kernel", "release", "exit code", "boot s", "command s", "whole s")
    for outcome in outcomes:
        code = "none" if outcome.code is None else str(outcome.code)
        times = (outcome.boot_s, outcome.command_s, outcome.whole_s)
        table.add_row(outcome.kernel, outcome.release, code, *(f"{time_s:.1f}" for time_s in times))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
