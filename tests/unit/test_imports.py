"""Imports point inward: no module knows more of the others than its row allows, type-only imports included.

A new module needs a row here: what it may know is decided when it is made, not found out later.
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

MAY_KNOW = {
    "": "",  # the package itself: its version
    "__main__": "cli",
    "cli": " config errors demo check daemon logs signals store.child store.serve store.user",
    # the composition root and what shows it
    "daemon": " arming config counters life limits logs monitor only_one service signals store_process",
    "logs": "life",
    "limits": "errors",
    "signals": " life",
    "store_process": "config counters delivery.breaker isolated life store.child store_port",
    "store_port": "addresses delivery.transport kernel.owner store.listener store.settings",
    "monitor": " alert arming clock config counters dispatch episodes errors event kernel.own kernel.owner "
    "kernel.probes kernel.sweep kernel.tables life logs policy service store_process telling",
    "dispatch": "alert clock config counters delivery.breaker delivery.destinations delivery.http_get "
    "delivery.outbox delivery.owed delivery.queue delivery.routes delivery.transport delivery.worker "
    "destination_settings event fold life metrics rehearsal store_port",
    "rehearsal": "config delivery.destinations delivery.transport destination_settings errors life",
    "arming": "config counters errors kernel.bytecode kernel.choice kernel.compiler kernel.hooks kernel.kept "
    "kernel.legacy kernel.loading kernel.order kernel.probes kernel.runtime kernel.source kernel.tables",
    "check": "rehearsal arming config counters errors event kernel.choice kernel.legacy kernel.probes kernel.tables",
    "demo": "alert arming errors isolated kernel.compiler",
    "service": "clock",
    "isolated": "",
    # what an operator writes
    "config": "addresses alert config_faults destination_list destination_settings errors fields http_options "
    "secret store.settings yaml_source",
    "config_faults": "addresses alert destination_settings secret yaml_source",
    "destination_list": "alert destination_settings secret",
    "destination_settings": "addresses alert fields http_options secret",
    "http_options": "fields secret",
    "addresses": "yaml_source",
    "secret": "fields",
    "fields": "",
    "yaml_source": "",
    # what is seen, decided, described: nothing of where it comes from and where it goes
    "errors": "",
    "counters": "",
    "life": "counters errors",
    "private_file": "",
    "only_one": "errors private_file",
    "event": "",
    "clock": "errors",
    "policy": "event counters alert episodes",
    "episodes": "event counters alert waiting",
    "waiting": "",
    "telling": "alert counters flapping fold",
    "flapping": "alert counters episodes waiting",
    "fold": "counters event alert",
    "alert": "event",
    # what it says of itself
    "metrics": "counters life",
    # where it comes from
    "kernel": "",
    "kernel.btf": "",
    "kernel.hooks": "",
    "kernel.layout": "errors kernel.btf",
    "kernel.legacy": "errors",
    "kernel.netns": "",
    "kernel.owner": "",
    "kernel.choice": "kernel.hooks",
    "kernel.order": "kernel.choice kernel.hooks",
    "kernel.bytecode": "",
    "kernel.compile": "errors kernel.bytecode kernel.order kernel.source",
    "kernel.compiler": "errors isolated kernel.bytecode kernel.order",
    "kernel.kept": " kernel.bytecode kernel.order kernel.runtime kernel.source",
    "kernel.loading": "errors kernel.bytecode kernel.hooks kernel.runtime",
    "kernel.runtime": "errors",
    "kernel.maps": "kernel.loading kernel.runtime",
    "kernel.tables": "errors event kernel.loading kernel.maps",
    "kernel.rings": "errors kernel.loading kernel.maps kernel.runtime",
    "kernel.attachments": "kernel.hooks kernel.runtime",
    "kernel.probes": "event counters kernel.attachments kernel.choice kernel.loading kernel.hooks kernel.rings "
    "kernel.tables",
    "kernel.source": "errors kernel.btf kernel.layout",
    "kernel.sock_diag": "event",
    "kernel.own": "event kernel.tables",
    "kernel.sweep": "clock event counters life policy kernel.netns kernel.own kernel.sock_diag",
    # where it goes
    "delivery": "",
    "delivery.transport": "",
    "delivery.owed": "alert event",
    "delivery.journal_lines": "delivery.owed",
    "delivery.edition1": "delivery.journal_lines delivery.owed",
    "delivery.journal": "delivery.edition1 delivery.journal_lines delivery.owed private_file",
    "delivery.breaker": "",
    "delivery.turns": "",
    "delivery.most": "",
    "delivery.shares": "delivery.most delivery.owed",
    "delivery.queue": "delivery.breaker delivery.owed delivery.shares delivery.turns life",
    "delivery.outbox": "alert clock counters delivery.keeping delivery.owed delivery.routes life",
    "delivery.keeping": "counters errors delivery.journal delivery.owed life",
    "delivery.routes": "alert counters delivery.owed delivery.queue delivery.worker",
    "delivery.destinations": "delivery.alertmanager delivery.http_get delivery.json_lines delivery.slack "
    "delivery.syslog delivery.transport secret",
    "delivery.deadline": "delivery.interim life",
    "delivery.interim": "",
    "delivery.surroundings": "delivery.transport",
    "delivery.http_get": " delivery.deadline delivery.surroundings delivery.transport destination_settings secret",
    "delivery.wording": "alert",
    "delivery.json_lines": "delivery.transport",
    "delivery.syslog": "delivery.syslog_message delivery.syslog_wire delivery.transport",
    "delivery.syslog_message": "alert delivery.wording",
    "delivery.syslog_wire": "",
    "delivery.http_post": " delivery.deadline delivery.http_get delivery.surroundings delivery.transport",
    "delivery.slack": "alert delivery.http_get delivery.http_post delivery.wording",
    "delivery.alertmanager": "alert delivery.http_get delivery.http_post delivery.wording",
    "delivery.worker": "counters life delivery.owed delivery.queue delivery.transport",
    # where it is kept and shown: a process of its own, which knows nothing of the monitor
    "store": "",
    "store.settings": "addresses fields http_options secret store.user",
    "store.user": "errors",
    "store.child": "errors store.settings",
    "store.listener": "addresses",
    "store.entry": "",
    "store.schema": "errors",
    "store.partitions": "store.schema",
    "store.faults": "",
    "store.database": "errors store.faults store.files store.partitions store.schema",
    "store.sound": "store.digest store.entry store.schema",
    "store.pages": "",
    "store.room": "store.schema",
    "store.salvage": "store.database store.digest store.entry store.pages store.schema store.sound store.writing",
    "store.writing": " life store.database store.digest store.entry store.faults store.room store.schema",
    "store.search": "store.digest store.entry store.schema store.sound",
    "store.retention": " life store.database store.partitions store.room store.salvage store.schema store.sound "
    "store.writing",
    "store.feed": "store.guard",
    "store.guard": "store.origin",
    "store.origin": "",
    "store.digest": "",
    "store.table": "store.guard",
    "store.files": "errors",
    "store.peer": "",
    "store.crowd": "store.peer",
    "store.patience": "store.crowd store.guard",
    "store.page_files": "",
    "store.description": " store.entry store.search",
    "store.metrics": "store.app",
    "store.app": "fields store.crowd store.database store.description store.entry store.faults store.feed "
    "store.guard store.metrics store.page_files store.retention store.schema store.search store.table store.writing",
    "store.serve": " counters errors life store.app store.crowd store.database store.files store.guard "
    "store.listener store.metrics store.page_files store.patience store.settings store.user store.writing",
}
"""Module of sockbpf -> those it may import; a leading blank allows the package itself, for its version."""

ONLY_IN = {
    "bcc": {"kernel.compile"},
    "requests": {"delivery.http_get", "delivery.http_post", "delivery.deadline", "delivery.surroundings"},
    "urllib3": {"delivery.deadline", "delivery.http_get", "delivery.http_post", "delivery.surroundings"},
    "yaml": {"yaml_source"},
    "prometheus_client": {"metrics", "store.app", "store.metrics"},
    "sqlalchemy": {
        *("store.app", "store.partitions", "store.retention", "store.schema", "store.search"),
        *("store.database", "store.digest", "store.room", "store.salvage", "store.sound", "store.writing"),
    },
    "starlette": {"store.app", "store.page_files", "store.serve"},
    "uvicorn": {"store.patience", "store.serve"},
    "pydantic": {
        *("config", "config_faults", "destination_list", "destination_settings", "fields", "http_options"),
        "store.settings",
    },
    "pydantic_core": {"config_faults", "destination_list", "secret"},
    "rich": {"check", "demo"},
}
"""Package from elsewhere -> the only modules that may import it."""

LATE = {
    "cli": {"config", "demo", "check", "daemon", "store.child", "store.serve", "store.user"},
    "dispatch": {"metrics"},
    "kernel.compile": {"bcc"},
    "monitor": {"dispatch"},
}
"""Module -> what it imports when it is wanted; everything else is imported at the top."""

PURE = ("event", "alert", "policy", "episodes", "waiting", "fold", "flapping", "telling")
OUTSIDE = {
    "asyncio",
    "ctypes",
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "select",
    "subprocess",
    "threading",
    "time",
}
"""What reads a clock, a file or the net; `socket` is allowed for writing addresses as text."""


@dataclass(frozen=True)
class Import:
    """One import: `name` without the leading `sockbpf.` when it is ours."""

    name: str
    ours: bool
    late: bool = False
    types_only: bool = False


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


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
                short = name.removeprefix("sockbpf").removeprefix(".") if ours else name.split(".")[0]
                found.add(Import(short, ours, late, types_only))
            return
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, late=late, types_only=types_only or checking)

    visit(ast.parse(source), late=False, types_only=False)
    return found


IMPORTS = {name: imports(path.read_text()) for name, path in MODULES.items()}


def allowed(module: str) -> set[str]:
    row = MAY_KNOW[module]
    return set(row.split()) | ({""} if row.startswith(" ") else set())


def test_every_module_has_a_row() -> None:
    missing, gone = set(MODULES) - set(MAY_KNOW), set(MAY_KNOW) - set(MODULES)
    assert not missing, f"say in MAY_KNOW of {__file__} what these may import: {sorted(missing)}"
    assert not gone, f"rows of MAY_KNOW without a module: {sorted(gone)}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_it_may_know(module: str) -> None:
    if module not in MAY_KNOW:
        pytest.fail(f"no row for {module}")
    ours = {found.name for found in IMPORTS[module] if found.ours}
    assert ours <= allowed(module), f"sockbpf.{module} may not import {sorted(ours - allowed(module))}"


def test_the_rooms_do_not_know_each_other() -> None:
    """Whatever the rows come to say: a room of hooks knows no destination, a destination no kernel."""
    for module in MAY_KNOW:
        rooms = {name.split(".")[0] for name in allowed(module)}
        if module.startswith("kernel"):
            assert not rooms & {"delivery", "config", "monitor", "daemon", "dispatch", "cli", "alert"}, module
        if module.startswith("delivery"):
            assert not rooms & {"kernel", "policy", "config", "monitor", "daemon", "dispatch", "cli"}, module
        inner = {"event", "alert", "policy", "episodes", "waiting", "fold", "flapping", "telling", "metrics"}
        if module.startswith("store."):
            assert not rooms & {"kernel", "delivery", "policy", "monitor", "daemon", "dispatch", "cli"}, (
                module
            )
        if module in inner | {"counters", "errors", "config", "yaml_source"}:
            assert not rooms & {"kernel", "delivery", "monitor", "daemon", "dispatch", "cli"}, module


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_from_elsewhere_is_known_in_its_room_only(package: str) -> None:
    users = {module for module, found in IMPORTS.items() if package in {i.name for i in found if not i.ours}}
    assert users == ONLY_IN[package]


def test_every_package_from_elsewhere_has_a_room() -> None:
    others = {found.name for each in IMPORTS.values() for found in each if not found.ours}
    assert others - set(sys.stdlib_module_names) == set(ONLY_IN)


def test_only_what_is_heavy_is_imported_late() -> None:
    late = {module: {found.name for found in each if found.late} for module, each in IMPORTS.items()}
    assert {module: each for module, each in late.items() if each} == LATE


@pytest.mark.parametrize("module", PURE)
def test_what_decides_has_no_clock_and_touches_nothing(module: str) -> None:
    assert not {found.name for found in IMPORTS[module] if not found.ours} & OUTSIDE


def test_nothing_imports_in_a_circle() -> None:
    graph = {
        module: {found.name for found in each if found.ours and not found.types_only}
        for module, each in IMPORTS.items()
    }
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("sockbpf.cli", {"bcc", "requests", "rich", "sockbpf.monitor", "sqlalchemy", "starlette"}),
        ("sockbpf.daemon", {"sqlalchemy", "starlette", "uvicorn"}),
        ("sockbpf.store.serve", {"bcc", "requests", "sockbpf.monitor"}),
        ("sockbpf.policy", {"bcc", "requests", "yaml", "pydantic", "sockbpf.config"}),
        ("sockbpf.fold", {"bcc", "requests", "prometheus_client", "sockbpf.policy"}),
        ("sockbpf.delivery.worker", {"bcc", "requests", "sockbpf.policy"}),
        ("sockbpf.kernel.probes", {"bcc", "requests", "sockbpf.policy"}),
        ("sockbpf.kernel.compile", {"bcc", "requests", "subprocess", "sockbpf.kernel.runtime"}),
        ("sockbpf.monitor", {"bcc", "requests", "rich", "sockbpf.kernel.compile"}),
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
from sockbpf import yaml_source
if TYPE_CHECKING:
    from sockbpf.policy import Notice
def late():
    try:
        import bcc
    except ImportError:
        from sockbpf.kernel.probes import Probes
"""
    assert imports(source) == {
        Import("os", ours=False),
        Import("", ours=True),
        Import("yaml_source", ours=True),
        Import("policy", ours=True, types_only=True),
        Import("bcc", ours=False, late=True),
        Import("kernel.probes", ours=True, late=True),
    }
