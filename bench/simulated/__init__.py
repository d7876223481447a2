# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A fleet of hosts as coroutines, in compressed time: they speak a monitor's protocols to real stores."""
