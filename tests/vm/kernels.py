# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The stock kernels that the programs are tried on: to add one, add a row.

They are the distribution's own, booted as they are; what is here is why each is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.vm.machines import AMD64, ARM64, Machine


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel package of Debian, by the metapackage that always names the latest of its suite."""

    name: str
    suite: str
    metapackage: str
    why: str
    headers: str = ""
    """The metapackage of its headers, where types from them are tried too."""

    tracepoints: bool = False
    """Whether its tracepoints alone see the queues grow."""

    machine: Machine = AMD64


KERNELS: tuple[Kernel, ...] = (
    Kernel(
        "5.10",
        "bullseye",
        "linux-image-cloud-amd64",
        "the oldest with BTF; none of the tracepoints of 6.3, kprobes do the work",
        "linux-headers-cloud-amd64",
    ),
    Kernel(
        "6.1",
        "bookworm",
        "linux-image-cloud-amd64",
        "what the distribution of BCC 0.26 runs; the last before the tracepoints of 6.3",
        "linux-headers-cloud-amd64",
    ),
    Kernel(
        "6.12",
        "trixie",
        "linux-image-cloud-amd64",
        "the tracepoints of 6.3, but not yet that of 6.16 which sees a sender block",
        tracepoints=True,
    ),
    Kernel(
        "7",
        "trixie-backports",
        "linux-image-cloud-amd64",
        "the newest that is packaged: what changes next",
        tracepoints=True,
    ),
    Kernel(
        "arm64-6.12",
        "trixie",
        "linux-image-cloud-arm64",
        "another processor: its registers, its calls of kernel functions from programs",
        tracepoints=True,
        machine=ARM64,
    ),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel with the `kernel > hooks` and `kernel > types` that it is to run with."""

    kernel: Kernel
    hooks: str
    types: str

    @property
    def is_own(self) -> bool:
        """Whether it is what the kernel would choose itself."""
        return self.hooks == self.types == "auto"

    def __str__(self) -> str:
        return f"{self.kernel.name}-{self.hooks}-{self.types}"


def choices(kernel: Kernel) -> Iterator[Choice]:
    """Yield what this kernel can run: what it would choose itself, each kind alone, types from headers."""
    yield Choice(kernel, "auto", "auto")
    yield Choice(kernel, "kprobes", "auto")
    if kernel.tracepoints:
        yield Choice(kernel, "tracepoints", "auto")
    if kernel.headers:
        yield Choice(kernel, "kprobes", "headers")


def named(name: str) -> Kernel:
    """Return the kernel of this name; raise KeyError."""
    return {kernel.name: kernel for kernel in KERNELS}[name]


CHOICES = tuple(choice for kernel in KERNELS for choice in choices(kernel))
