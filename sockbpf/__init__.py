# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Watch the queues of every TCP and UDP socket of a host, and send an alert the moment one is over its threshold."""

__version__ = "0.1.0"
