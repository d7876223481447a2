# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Journals, and what lies in them."""

from __future__ import annotations

import json

from sockbpf.delivery.owed import Owed


def body(n: int, **more: str) -> str:
    fields = {"timestamp": f"{n}.5", "event": "exceeded", "id": f"{n:x}", "seq": str(n), **more}
    return json.dumps(fields, separators=(",", ":"))


def owed(n: int) -> Owed:
    return Owed(n, "http", f"{n:x}", 10.5 + n, body(n))


EDITION1 = """
create table owed (
    n integer primary key, destination text not null, episode text not null, made_s real not null, body text not null
) strict;
create table last (only integer primary key check (only = 0), seq integer not null, n integer not null) strict;
insert into last values (0, 0, 0);
pragma user_version = 1;
"""
