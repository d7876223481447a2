# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Queries of open episodes: in ClickHouse they go to a view of their own, for all episodes are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, event
from sqlalchemy.sql.visitors import replacement_traverse

from sockbpf.store.data.clickhouse_episodes import OPEN_EPISODE
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.engine import Engine

OPEN = EPISODE.to_metadata(MetaData(), name=OPEN_EPISODE)
MARK = "of_open_episodes"


def of_open(statement: Select[Any]) -> Select[Any]:
    """Mark a query that finds episodes only that are open: a database may know where these are."""
    return statement.execution_options(**{MARK: True})


def ask_view_of_open(engine: Engine) -> None:
    """Have queries that are marked go to the view."""

    @event.listens_for(engine, "before_execute", retval=True)
    def _before_execute(_: Any, statement: Any, several: Any, one: Any, __: Any) -> tuple[Any, Any, Any]:
        is_marked = hasattr(statement, "get_execution_options") and MARK in statement.get_execution_options()
        return (replacement_traverse(statement, {}, _of_view) if is_marked else statement), several, one


def _of_view(element: Any, **_: Any) -> Any:
    if element is EPISODE:
        return OPEN
    if isinstance(element, Column) and element.table is EPISODE:
        return OPEN.c[element.name]
    return None
