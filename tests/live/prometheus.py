# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A real Prometheus that scrapes a monitor, with our rules; and the queries of our dashboard."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.live.daemons import program, running
from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until

GIVEN = Path(__file__).parents[2] / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((GIVEN / "dashboard.json").read_text())

SCRAPE_S = 1
STEP = "10s"
"""In place of Grafana's $__rate_interval."""

Labels = Mapping[str, str]


def rules_at_once() -> dict[str, Any]:
    """Return our alerting rules, but that none waits before it fires."""
    rules: dict[str, Any] = yaml.safe_load((GIVEN / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


@dataclass
class PrometheusDaemon:
    """A running one."""

    port: int
    target: str

    def get(self, path: str, **parameters: str | float) -> Any:
        """Return the data of an answer of its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        answer = requests.get(url, parameters, timeout=DEADLINE_S)
        assert answer.json()["status"] == "success", f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def values(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return what a query has now, by labels."""
        found = self.get("query", query=query)["result"]
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in found}

    def value(self, query: str) -> float | None:
        """Return the one value that a query has now, if it has any."""
        found = self.values(query)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)

    def firing(self) -> list[Labels]:
        """Return the labels of the alerts that fire now."""
        return [alert["labels"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"]

    def fires(self, name: str, **labels: str) -> bool:
        """Tell whether such an alert fires now."""
        wanted = {"alertname": name, **labels}
        return any(wanted.items() <= each.items() for each in self.firing())


@contextmanager
def prometheus_in(folder: Path, target: str) -> Iterator[PrometheusDaemon]:
    """Run one with its files in this folder; it scrapes the target, `host:port`, as the job sockbpf."""
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules_at_once()))
    config = folder / "prometheus.yml"
    settings = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "sockbpf", "static_configs": [{"targets": [target]}]}],
    }
    config.write_text(yaml.safe_dump(settings))
    made = PrometheusDaemon(free_port(), target)
    options = {
        "config.file": config,
        "storage.tsdb.path": folder / "tsdb",
        "web.listen-address": f"127.0.0.1:{made.port}",
        "enable-feature": "exemplar-storage",
    }
    log = folder / "output"

    def is_ready() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{made.port}/-/ready", timeout=DEADLINE_S).ok
        return False

    with ExitStack() as stack:
        command = [program("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        stack.enter_context(running(*command, log=log))
        until(is_ready, lambda: f"Prometheus is ready: {log.read_text()}")
        yield made


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard."""

    title: str
    kind: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Each with what its lines are called, names of labels in `{{ }}`."""
    place: Mapping[str, int]
    steps: tuple[Mapping[str, Any], ...]
    """From which value on it has which colour."""


def panels(host: str, service: str = ".*") -> Iterator[Panel]:
    """Yield the panels, the variables of their queries filled as Grafana fills them."""
    for each in DASHBOARD["panels"]:
        if each["type"] == "row":
            continue
        queries = [(target["expr"], target["legendFormat"]) for target in each["targets"]]
        filled = tuple((expanded(query, host, service), legend) for query, legend in queries)
        defaults = each["fieldConfig"]["defaults"]
        steps = tuple(defaults.get("thresholds", {}).get("steps", ()))
        yield Panel(each["title"], each["type"], defaults.get("unit", "none"), filled, each["gridPos"], steps)


def expanded(query: str, host: str, service: str = ".*") -> str:
    """Return a query with its variables filled."""
    filled = query.replace("$host", re.escape(host).replace("\\", "\\\\")).replace("$service", service)
    filled = filled.replace("$__rate_interval", STEP)
    assert "$" not in filled, filled
    return filled


def variables(prometheus: PrometheusDaemon) -> dict[str, list[str]]:
    """Return what the dashboard lets its reader choose from."""
    found = {}
    for each in DASHBOARD["templating"]["list"]:
        if each["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
            assert match, each
            selector = expanded(match[1], prometheus.target)
            end = time.time()
            asked: dict[str, str | float] = {"match[]": selector, "start": end - 600, "end": end}
            found[each["name"]] = prometheus.get(f"label/{match[2]}/values", **asked)
    return found
