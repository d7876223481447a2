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
    whole_s: float

    def row(self) -> str:
        return (
            f"| {self.release} | {self.choice.hooks} | {self.choice.types} | {self.passed} | {self.boot_s:.0f} "
            f"| {self.armed} | {self.whole_s:.0f} |"
        )


RESULTS: list[Result] = []
