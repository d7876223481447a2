# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Queries of episodes that are open, and of those that have ended: in ClickHouse they go to a view of their own.

To look for either among all episodes takes long there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, event
from sqlalchemy.sql.visitors import replacement_traverse

from sockbpf.store.data.clickhouse_ended import ENDED_EPISODE
from sockbpf.store.data.clickhouse_episodes import OPEN_EPISODE
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.engine import Engine

VIEWS = {name: EPISODE.to_metadata(MetaData(), name=name) for name in (OPEN_EPISODE, ENDED_EPISODE)}
MARK = "view_of_episodes"


def of_open(statement: Select[Any]) -> Select[Any]:
    """Mark a query that finds episodes only that are open: a database may know where these are."""
    return statement.execution_options(**{MARK: OPEN_EPISODE})


def of_ended(statement: Select[Any]) -> Select[Any]:
    """Mark a query of the episodes that ended a while ago. Only ClickHouse has them apart, and from the others."""
    return statement.execution_options(**{MARK: ENDED_EPISODE})


def ask_views(engine: Engine) -> None:
    """Have queries that are marked go to their view."""

    @event.listens_for(engine, "before_execute", retval=True)
    def _before_execute(_: Any, statement: Any, several: Any, one: Any, __: Any) -> tuple[Any, Any, Any]:
        options = statement.get_execution_options() if hasattr(statement, "get_execution_options") else {}
        view = VIEWS.get(options.get(MARK, ""))
        if view is None:
            return statement, several, one

        def replaced(element: Any, **_: Any) -> Any:
            if element is EPISODE:
                return view
            if isinstance(element, Column) and element.table is EPISODE:
                return view.c[element.name]
            return None

        return replacement_traverse(statement, {}, replaced), several, one
