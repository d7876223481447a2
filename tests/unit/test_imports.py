# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Imports point inward: no folder knows more of the others than its row allows, type-only imports included.

A new folder needs a row here: what it may know is decided when it is made, not found out later.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "sockbpf"

FOLDERS = {
    "process": "",
    "record": "",
    "judge": "record",
    "settings": "process record",
    "kernel": "",
    "kernel.build": "kernel process",
    "kernel.attach": "kernel kernel.build record settings",
    "kernel.look": "kernel.attach kernel.build process record",
    "delivery": "process record",
    "delivery.destinations": "delivery process record settings",
    "monitor": "delivery delivery.destinations judge kernel.attach kernel.look process record settings store",
    "store": "process settings store.data store.web",
    "store.data": "process record",
    "store.web": "judge record settings store.data",
    "plugin": "kernel.look monitor record settings",
    "view": "judge record",
    "screen": "judge record settings view",
    "commands": "judge kernel.attach kernel.build kernel.look monitor process record screen settings view",
}
"""Folder of sockbpf -> the folders that its modules may import from, besides itself, in the order data flows."""

FOR_ALL = {"__init__", "counters", "errors", "usage"}
"""Modules of the package itself that every folder may import: the version, counters, errors, what may be typed."""

ONLY_IN = {
    "bcc": {"kernel.build"},
    "confluent_kafka": {"delivery.destinations"},
    "google": {"delivery.destinations"},
    "opentelemetry": {"delivery.destinations"},
    "prometheus_client": {"monitor", "store.web"},
    "pydantic": {"settings"},
    "requests": {"delivery.destinations"},
    "rich": {"commands", "screen", "view"},
    "sqlalchemy": {"store.data", "store.web"},
    "textual": {"screen"},
    "uvicorn": {"store", "store.web"},
    "yaml": {"settings"},
}
"""Package from elsewhere -> the only folders that may import it."""

LATE = {
    "cli": {
        *(
            "settings.config",
            "commands.advise",
            "commands.demo",
            "commands.check",
            "commands.explain",
            "commands.run",
        ),
        *("commands.silence", "commands.sockets", "commands.status", "commands.top"),
        *("store.child", "store.serve", "process.user"),
    },
    "commands.sockets": {"monitor.rows_closely"},
    "monitor.live_looks": {"monitor.rows_closely"},
    "commands.top": {"screen.app"},
    "delivery.journal": {"delivery.edition1_rows"},
    "delivery.destinations.bigquery_session": {"google"},
    "delivery.destinations.kafka": {"confluent_kafka"},
    "delivery.destinations.otlp_post": {
        "delivery.destinations.otlp_metrics",
        "delivery.destinations.otlp_wire",
    },
    "process.limits": {"ctypes"},
    "plugin.check": {"plugin.of_queues"},
    "monitor.metrics_out": {"monitor.metrics", "monitor.metrics_push"},
    "monitor.build": {"monitor.dispatch", "monitor.history"},
    "kernel.build.clang": {"bcc"},
    "store.data.clickhouse_history": {"clickhouse_connect"},
    "store.data.clickhouse_rows": {"clickhouse_connect"},
    "store.data.engine": {"clickhouse_connect"},
}
"""Module -> what it imports when it is wanted; everything else is imported at the top."""

PURE = ("judge", "record")
OUTSIDE = {
    *("asyncio", "ctypes", "http", "io", "logging", "os", "pathlib", "select", "subprocess", "threading"),
    "time",
}
"""What reads a clock, a file or the net; `socket` is allowed for writing addresses as text."""


@dataclass(frozen=True)
class Import:
    """One import: `name` without the leading `sockbpf.` when it is ours; the package itself is `__init__`."""

    name: str
    ours: bool
    late: bool = False
    types_only: bool = False


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def folder(module: str) -> str:
    """Return the folder that a module lies in; a package lies in itself."""
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


def names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, "imports are absolute"
    module = node.module or ""
    for alias in node.names:
        whole = f"{module}.{alias.name}"
        yield whole if whole.removeprefix("sockbpf.") in MODULES else module


def imports(source: str) -> set[Import]:
    """Return what a module's text imports, wherever the statement stands."""
    found: set[Import] = set()

    def visit(node: ast.AST, *, late: bool, types_only: bool) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in names(node):
                ours = name == "sockbpf" or name.startswith("sockbpf.")
                short = name.partition(".")[2] or "__init__" if ours else name.split(".")[0]
                found.add(Import(short, ours, late, types_only))
            return
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, late=late, types_only=types_only or checking)

    visit(ast.parse(source), late=False, types_only=False)
    return found


IMPORTS = {name: imports(path.read_text()) for name, path in MODULES.items()}


def test_every_folder_has_a_row() -> None:
    assert {folder(module) for module in MODULES} - {""} == set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_imports_what_it_may_know(name: str) -> None:
    known = {name, *FOLDERS[name].split()}
    unknown = {
        (module, found.name)
        for module, each in IMPORTS.items()
        for found in each
        if folder(module) == name and found.ours and found.name not in FOR_ALL
        if folder(found.name) not in known
    }
    assert not unknown


def test_no_folder_of_hooks_knows_a_destination_nor_the_other_way_round() -> None:
    """Whatever the rows come to say."""
    graph = {name: set(row.split()) for name, row in FOLDERS.items()}

    def reached(name: str) -> set[str]:
        return graph[name].union(*map(reached, graph[name]))

    assert set(TopologicalSorter(graph).static_order()) == set(graph)
    for name in FOLDERS:
        rooms = {each.partition(".")[0] for each in reached(name)}
        if name.startswith("kernel"):
            assert not rooms & {"delivery", "judge", "monitor", "commands"}, name
        if name.startswith(("delivery", "store")):
            assert not rooms & {"kernel", "monitor", "commands"}, name
        if name.startswith("delivery"):
            assert "judge" not in rooms, name


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_from_elsewhere_is_known_in_its_folders_only(package: str) -> None:
    users = {
        folder(module) for module, each in IMPORTS.items() if package in {i.name for i in each if not i.ours}
    }
    assert users == ONLY_IN[package]


def test_only_what_is_heavy_is_imported_late() -> None:
    late = {module: {found.name for found in each if found.late} for module, each in IMPORTS.items()}
    assert {module: each for module, each in late.items() if each} == LATE


@pytest.mark.parametrize("name", PURE)
def test_what_decides_has_no_clock_and_touches_nothing(name: str) -> None:
    for module, each in IMPORTS.items():
        if folder(module) == name:
            assert not {found.name for found in each if not found.ours} & OUTSIDE, module


def test_nothing_imports_in_a_circle() -> None:
    graph = {
        module: {found.name for found in each if found.ours and not found.types_only}
        for module, each in IMPORTS.items()
    }
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("sockbpf.cli", {"bcc", "requests", "rich", "sockbpf.monitor.loop", "sqlalchemy", "starlette"}),
        ("sockbpf.commands.run", {"bcc", "requests", "rich", "sqlalchemy", "starlette", "uvicorn"}),
        ("sockbpf.store.serve", {"bcc", "requests", "sockbpf.monitor.loop"}),
        ("sockbpf.judge.policy", {"bcc", "requests", "yaml", "pydantic", "sockbpf.settings.config"}),
        ("sockbpf.kernel.build.clang", {"bcc", "requests", "subprocess", "sockbpf.kernel.libbcc"}),
    ],
)
def test_what_is_not_wanted_is_not_loaded(module: str, unwanted: set[str]) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    assert not unwanted & set(json.loads(ran.stdout))


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import os.path
from sockbpf import __version__
from sockbpf.settings import yaml_source
if TYPE_CHECKING:
    from sockbpf.judge.policy import Policy
def late():
    try:
        import bcc
    except ImportError:
        from sockbpf.kernel.attach.probes import Probes
"""
    assert imports(source) == {
        Import("os", ours=False),
        Import("__init__", ours=True),
        Import("settings.yaml_source", ours=True),
        Import("judge.policy", ours=True, types_only=True),
        Import("bcc", ours=False, late=True),
        Import("kernel.attach.probes", ours=True, late=True),
    }


def test_no_test_imports_another() -> None:
    """What several tests need lies in a module of its own; a test may name itself, for a process of its own."""
    tests = Path(__file__).parents[1]
    for file in sorted(tests.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                found = [(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)]
                assert not [name for name in found if name.startswith("test_")], file


def test_no_two_tests_have_one_name() -> None:
    """The test runner knows a module by its name alone."""
    names = [file.name for file in Path(__file__).parents[1].rglob("test_*.py")]
    assert len(set(names)) == len(names)
