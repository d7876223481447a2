# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Connections to MariaDB: what each is told first, and which servers are taken."""

from __future__ import annotations

import re
from typing import Any

OLDEST = (10, 11)
"""The oldest MariaDB that is taken: of older ones, and of Oracle's MySQL, nothing is known."""
PATIENCE = {"connect_timeout": 5, "read_timeout": 40, "write_timeout": 40}
"""Options of a connection, unless the URL sets them, in seconds: nobody waits without end for a silent server."""
MODE = {"sql_mode": "ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"}
"""Options that no URL changes: what does not fit is refused, never cut short. A backslash in a text is doubled."""
SESSION = (
    "set session max_statement_time = 30, innodb_lock_wait_timeout = 15, lock_wait_timeout = 15, "
    "idle_transaction_timeout = 10"
)
"""So whoever waits for a lock, or holds one, ends."""
UNBOUNDED = "set session max_statement_time = 0, lock_wait_timeout = 86400"
"""For who makes the tables: an index of many rows takes as long as it takes."""
VERSION = re.compile(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.\d+-MariaDB")
"""How a MariaDB calls itself; until 11.0 the first number is there for older programs."""
MOST_PACKET = "most_packet"
"""What a connection's `info` calls the most bytes of a statement that its server takes."""


def is_taken(version: str) -> bool:
    """Whether a server of this version, as it says it, is taken."""
    found = VERSION.match(version)
    return bool(found and tuple(map(int, found.groups())) >= OLDEST)


def begin_session(connection: Any, info: dict[str, Any]) -> str | None:
    """Prepare a new connection of the driver; return why its server is of no use, None if it is."""
    if not is_taken(connection.get_server_info()):
        return f"expected MariaDB {'.'.join(map(str, OLDEST))} or later"
    with connection.cursor() as cursor:
        cursor.execute(SESSION)
        cursor.execute("select @@max_allowed_packet")
        info[MOST_PACKET] = cursor.fetchone()[0]
    return None
