# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The errors that end the program with a clear line; anything else is a bug and exits 1."""

from __future__ import annotations


class SockbpfError(Exception):
    """A fault that the operator can act on; `exit_code` is that of the command."""

    exit_code = 1


class ConfigError(SockbpfError):
    """The configuration cannot be used: one message per fault, all faults of the file together."""

    exit_code = 2

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class UnsupportedError(SockbpfError):
    """The kernel or the user cannot run it; the message holds the reason and the remedy."""

    exit_code = 3
