# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SQL for when something arrived, as each database has an index of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Arrival(FunctionElement[float]):
    """`Arrival(arrived, own)`: Unix time by the store's clock.

    The first edition did not keep it: its entries have their own time instead. In MariaDB there are none of these,
    nor an index of an expression.
    """

    name = "coalesce"
    type = Float(53)
    inherit_cache = True


@compiles(Arrival)
def _either(element: Arrival, compiler: Any, **how: Any) -> str:
    return f"coalesce({compiler.process(element.clauses, **how)})"


@compiles(Arrival, "mysql")
def _kept(element: Arrival, compiler: Any, **how: Any) -> str:
    return str(compiler.process(next(iter(element.clauses)), **how))
