# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What /openapi.json says of the store is true: schemathesis asks for what it allows, and for what it does not.

The statuses, content types, headers and schemas of all answers must be those declared, what is allowed must be taken,
and what is forbidden refused.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.turns import today
from tests.store.conftest import KINDS, StartStore
from tests.store.serving import TOKEN

EXAMPLES = 20
"""Of each operation in each phase, allowed and forbidden ones."""
PHASES, QUICK_PHASES = "examples,coverage,fuzzing", "examples,fuzzing"
"""ClickHouse takes its time for each request: it is asked fewer."""
SEED = 7
LEAST, QUICK_LEAST = 500, 200
"""So many requests are made at least."""

# What an alert must have depends on its event, and one of DELETE's parameters is wanted, never both: of parameters
# a description cannot say that.
CONDITIONAL = """
[[operations]]
include-path = "/alert"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 422, "5xx"]

[[operations]]
include-method = "DELETE"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 422, "5xx"]
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_description_is_true(
    start: StartStore, database_of: Any, tmp_path: Path, kind: str, pytestconfig: pytest.Config
) -> None:
    turn = KINDS[today() % len(KINDS)]
    if kind != turn and not pytestconfig.getoption("--every-choice"):
        pytest.skip(f"today it is done with {turn}")
    is_slow = kind == "clickhouse"
    store = start(database_of(kind), token=TOKEN)  # or nothing would be deleted
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONDITIONAL)
    ran = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
            *("run", f"{store.url}/openapi.json", "--phases", QUICK_PHASES if is_slow else PHASES),
            *("--header", f"Authorization: Bearer {TOKEN}"),
            *(
                "--checks",
                "all",
                "--continue-on-failure",
                "--max-examples",
                str(EXAMPLES),
                "--seed",
                str(SEED),
            ),
            *("--exclude-path", "/stream"),  # it has no end
            *("--suppress-health-check", "all", "--no-color", "--request-timeout", "20"),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout[-10_000:] + ran.stderr
    made = re.search(r"(\d+) generated", ran.stdout)
    assert made
    assert int(made[1]) > (QUICK_LEAST if is_slow else LEAST)
    assert "14/15" in ran.stdout, "all operations but the stream"
    assert "Traceback" not in store.log()
    assert store.stop() == 0
