# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What becomes of a program whose terminal is closed: Textual would read nothing for ever, and wait to write."""

from __future__ import annotations

import os
import sys
import termios

INTERRUPTED = 130
"""The exit code of a program that was interrupted."""


def end_if_terminal_is_gone() -> None:
    """End the process at once if its terminal is closed: nobody is left who could read a word."""
    try:
        termios.tcgetattr(sys.__stdin__ or 0)
    except (OSError, ValueError, termios.error):
        os._exit(INTERRUPTED)
