# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Days of a simulated host at high speed: the monitor itself, with a record in place of the kernel and the clock."""
