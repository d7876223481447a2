# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Options of all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode in a folder of this run: what one monitor has compiled the next need not."""
    folder = os.environ["RUNTIME_DIRECTORY"] = mkdtemp(prefix="sockbpf-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-times", action="store_true", help="assert the times that are otherwise printed"
    )
    parser.addoption(
        "--journal-damages",
        type=int,
        default=100,
        help="how many damaged journals test_journal_damages.py opens",
    )
    parser.addoption("--noise-seconds", type=float, default=5, help="how long test_noise.py makes noise")
    parser.addoption(
        "--own-connections",
        type=int,
        default=1501,
        help="how many test_own.py has the monitor make at the least",
    )
    parser.addoption(
        "--rule-lists",
        type=int,
        default=211,
        help="by how many random lists of rules test_rule_decisions.py judges",
    )
    parser.addoption(
        "--causes",
        default="",
        help="which scenes of causes test_causes.py makes, by name, IPv4 alone; else all",
    )
    parser.addoption("--causes-rounds", type=int, default=1, help="how often test_causes.py makes each cause")
    parser.addoption("--ghost-rounds", type=int, default=12, help="how many rounds test_ghosts.py has")
    parser.addoption("--kills", type=int, default=23, help="how often test_journal_kill.py kills the monitor")
    parser.addoption(
        "--faults",
        default="some",
        help="which places test_faults.py tries: some (others each day), a seed, or all",
    )
    parser.addoption(
        "--store-kills", type=int, default=7, help="how often test_store_kill.py kills each store"
    )
    parser.addoption(
        "--store-orders", type=int, default=25, help="in how many orders test_store_states.py has alerts come"
    )
    parser.addoption(
        "--store-crowd", type=int, default=1100, help="how many connections crowd test_store_crowd.py's store"
    )
    parser.addoption(
        "--timeline-examples",
        type=int,
        default=7,
        help="how many histories of a store test_store_timeline_model.py makes",
    )
    parser.addoption(
        "--store-damages", type=int, default=11, help="how many databases test_store_damage.py damages"
    )
    parser.addoption(
        "--every-choice",
        action="store_true",
        help="try each kernel of test_kernels.py with all choices of hooks and types, not every second one",
    )
    parser.addoption(
        "--pictures",
        help="the folder in which test_page_incidents.py and test_prometheus.py make their pictures",
    )
    parser.addoption(
        "--image",
        action="store_true",
        help="have test_container.py build the image today, not every second day",
    )
    parser.addoption(
        "--healthy-seconds",
        type=float,
        default=3,
        help="how long each program of test_real_programs.py is under load",
    )
    parser.addoption(
        "--quiet-s",
        type=float,
        default=0,
        help="after so many quiet seconds test_bursts.py does its bursts again, as from a cold start; "
        "125 are enough to have the hooks of drains detached; 0: from the cold start alone",
    )
    parser.addoption(
        "--programs-settings",
        default="{}",
        help="further settings, as YAML, of the monitor of test_real_programs.py: to try other defaults",
    )


@pytest.fixture
def strict_times(request: pytest.FixtureRequest) -> bool:
    """Whether times are asserted: on a quiet machine, never in CI."""
    return bool(request.config.getoption("--strict-times"))


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> Path | None:
    """Return the folder of pictures, None if none are to be made."""
    folder = request.config.getoption("--pictures")
    return Path(folder) if folder else None


@pytest.fixture
def ghost_rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--ghost-rounds"))


@pytest.fixture
def timeline_examples(request: pytest.FixtureRequest) -> int:
    """How many histories of a store are made."""
    return int(request.config.getoption("--timeline-examples"))


@pytest.fixture
def noise_s(request: pytest.FixtureRequest) -> float:
    """Seconds of noise."""
    return float(request.config.getoption("--noise-seconds"))


@pytest.fixture
def healthy_s(request: pytest.FixtureRequest) -> float:
    """Seconds of load on each program."""
    return float(request.config.getoption("--healthy-seconds"))
