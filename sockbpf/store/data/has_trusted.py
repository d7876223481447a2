# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SQL for whether somebody who is trusted tells of a host too, as each database finds it soonest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, exists, select
from sqlalchemy.ext.compiler import compiles

from sockbpf.store.data.schema import HOST

_TRUSTED = select(HOST.c.host.label("its_host")).where(HOST.c.trusted == 1).subquery("trusted_host")
_EXISTS = exists().where(_TRUSTED.c.its_host == HOST.c.host)
OF_BOTH = (
    "select host from host_said where trusted = 1 and host in (select host from host_said where trusted = 0)"
)
"""Hosts of which both tell: few, which ClickHouse looks up for each row; what depends on a row it joins."""


class HasTrusted(ColumnElement[bool]):
    """Whether there is a trusted row of the host of this row of HOST."""

    type = Boolean()
    inherit_cache = True


@compiles(HasTrusted)
def _of_this_host(_: HasTrusted, compiler: Any, **how: Any) -> str:
    return str(compiler.process(_EXISTS, **how))


@compiles(HasTrusted, "clickhousedb")
def _of_both(_: HasTrusted, compiler: Any, **how: Any) -> str:
    return f"({compiler.process(HOST.c.host, **how)} in ({OF_BOTH}))"
