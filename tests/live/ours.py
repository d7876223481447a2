# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rules by which a monitor, which sees all sockets of the host, has episodes of a test's sockets alone."""

from __future__ import annotations

from typing import Any


def only_ours(*local_ports: int, **match: str) -> list[dict[str, Any]]:
    """Return the `rules` by which all is ignored but sockets with these local ports, and what else `match` says."""
    return [
        {"name": "ours", "match": {"local_port": [*local_ports], **match}},
        {"name": "others", "match": {"local_port": "0-65535"}, "ignore": True},
    ]
