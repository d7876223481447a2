# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where the kernel side takes no programs with rules, they are refused at the start, by name, with the remedy."""

from __future__ import annotations

import pytest

from sockbpf.counters import Counters
from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.tables import Tables
from sockbpf.kernel.look.owner import Owners
from sockbpf.monitor.rules import NAMED, Rules
from sockbpf.settings.config import Config


def used(count: int, tables: Tables | None) -> None:
    """Use so many rules for which the kernel side has these tables."""
    rules = [{"match": {"local_port": port}, "ignore": True} for port in range(1, count + 1)]
    config = Config.model_validate({"url": "http://192.0.2.1/", "rules": rules})
    Rules(config, Owners(), tables, Counters()).use(config)


@pytest.mark.parametrize(("count", "more"), [(2, ""), (NAMED, ""), (NAMED + 3, " and 3 more")])
def test_they_are_refused_by_name(count: int, more: str) -> None:
    tables = object.__new__(Tables)
    tables.rules = None
    with pytest.raises(UnsupportedError) as refused:
        used(count, tables)
    names = ", ".join(f"rule-{number}" for number in range(1, min(count, NAMED) + 1))
    assert f"refuses programs that judge by rules: {names}{more}. Remedy: no rules" in str(refused.value)
    used(count, None)  # by polling they are taken
