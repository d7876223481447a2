# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What came of the kernel matrix, for its closing table."""

from __future__ import annotations

from dataclasses import dataclass

from tests.vm.kernels import Choice


@dataclass(frozen=True)
class Result:
    """One row of the closing table."""

    choice: Choice
    release: str
    passed: str
    boot_s: float
    armed: str
    look: str
    whole_s: float
    unseen: tuple[str, ...]
    """What the hooks leave unseen, as the monitor says it: "thing: hooks; unseen: what"."""

    def row(self) -> str:
        return (
            f"| {self.release} | {self.choice.hooks} | {self.choice.types} | {self.look} | {self.passed} "
            f"| {self.boot_s:.0f} | {self.armed} | {self.whole_s:.0f} |"
        )

    def left_unseen(self) -> str:
        """Return a line of what these hooks leave to the sweeps, or nothing."""
        things = [f"{line.partition(':')[0]} ({line.partition('; unseen: ')[2]})" for line in self.unseen]
        return f"- {self.choice.kernel.name}, {self.choice.hooks}: {'; '.join(things)}" if things else ""


RESULTS: list[Result] = []
