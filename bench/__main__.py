# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`python -m bench [FIGURES …]`: measure on this machine, print the table, write it as JSON too."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType

from bench import (
    advice,
    advice_programs,
    batches,
    bursts,
    causes,
    clickhouse,
    cost,
    crowd,
    delivery,
    fleet,
    fleet_now,
    history,
    look,
    now,
    open_episodes,
    page,
    resident,
    rules,
    runs,
    scrape,
    sockets,
    store,
    throughput,
    timeline,
    top,
    upgrade,
    written,
)
from bench.figure import Figure, attempted, table
from bench.simulated import measure as simulated

MEASURES: dict[str, tuple[ModuleType, ...]] = {
    "cost": (cost,),
    "runs": (runs,),
    "open": (open_episodes,),
    "rules": (rules,),
    "throughput": (throughput,),
    "bursts": (bursts,),
    "causes": (causes,),
    "delivery": (delivery,),
    "resident": (resident,),
    "look": (look,),
    "sockets": (sockets,),
    "scrape": (scrape,),
    "top": (top,),
    "store": (store,),
    "fleet": (fleet, fleet_now, written, batches, simulated, crowd, upgrade),
    "clickhouse": (clickhouse,),
    "now": (now,),
    "timeline": (timeline,),
    "history": (history,),
    "advice": (advice, advice_programs),
    "page": (page,),
}
"""By name, in the order of the table; quick ones only show that they run."""
LIMIT_S = 3600
"""For all that one module measures."""


def main() -> int:
    """Return 0 also if a goal is missed: the table says so; 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"of {', '.join(MEASURES)}; all without")
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    if unknown := set(arguments.figures) - set(MEASURES):
        parser.error(f"no such figures: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in arguments.figures or MEASURES:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        for module in MEASURES[name]:
            measure = partial(module.measure, quick=arguments.quick)
            figures += attempted(f"{name}: {module.__name__}", measure, LIMIT_S)
    print(f"Linux {platform.release()}, {platform.machine()}, Python {platform.python_version()}\n")
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 0 if all(figure.values for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
