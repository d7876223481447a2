# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Runs `python -m MODULE …`, given behind this file, as on a kernel that matches no rules, and goes by answers."""

from __future__ import annotations

import runpy
import sys

from sockbpf.kernel.attach import arm
from sockbpf.kernel.build.order import Matching

if __name__ == "__main__":
    arm.matching_here = lambda: Matching.BY_ANSWERS
    _, _, _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
