# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`python -m bench [FIGURES …]`: measure on this machine, print the table, write it as JSON too."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from bench import (
    batches,
    bursts,
    causes,
    cost,
    delivery,
    fleet,
    fleet_now,
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
    written,
)
from bench.figure import table
from bench.simulated import measure as simulated

MEASURES = {
    "cost": cost.measure,
    "runs": runs.measure,
    "open": open_episodes.measure,
    "rules": rules.measure,
    "throughput": throughput.measure,
    "bursts": bursts.measure,
    "causes": causes.measure,
    "delivery": delivery.measure,
    "resident": resident.measure,
    "look": look.measure,
    "sockets": sockets.measure,
    "scrape": scrape.measure,
    "top": top.measure,
    "store": store.measure,
    "fleet": lambda *, quick: [
        *fleet.measure(quick=quick),
        *fleet_now.measure(quick=quick),
        *written.measure(quick=quick),
        *batches.measure(quick=quick),
        *simulated.measure(quick=quick),
    ],
    "now": now.measure,
    "timeline": timeline.measure,
    "page": page.measure,
}
"""By name, in the order of the table; quick ones only show that they run."""


def main() -> int:
    """Return 0 also if a goal is missed: the table says so."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"of {', '.join(MEASURES)}; all without")
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    if unknown := set(arguments.figures) - set(MEASURES):
        parser.error(f"no such figures: {', '.join(sorted(unknown))}")
    figures = []
    for name in arguments.figures or MEASURES:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        figures += MEASURES[name](quick=arguments.quick)
    print(f"Linux {platform.release()}, {platform.machine()}, Python {platform.python_version()}\n")
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
