# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The rules and the dashboard for Prometheus, and its document, fit the metrics; the live test tries them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sockbpf.counters import LOSSES
from tests.unit.copies import ROOT
from tests.unit.documents import anchors
from tests.unit.metric_docs import DOCUMENT, families, name_of, rewritten

FOLDER = ROOT / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())


def test_the_document_says_what_the_code_says() -> None:
    assert DOCUMENT.read_text() == rewritten(), "`make fields` writes it"


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_every_metric_that_is_asked_for_is_there(name: str) -> None:
    histogram = [f"sockbpf_crossing_to_delivered_seconds_{part}" for part in ("bucket", "count", "sum")]
    known = {name_of(family) for family in families()} | {*histogram}
    asked = set(re.findall(r"\b(?:sockbpf_(?!store_)|process_)\w+", (FOLDER / name).read_text()))
    assert len(asked) > 15
    assert asked <= known


def test_each_rule_says_what_is_wrong_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_each_rule_is_tried_when_it_fires_and_when_it_does_not() -> None:
    tried = {
        (one["alertname"], bool(one.get("exp_alerts"))) for test in TESTS for one in test["alert_rule_test"]
    }
    assert tried == {(rule["alert"], fires) for rule in RULES for fires in (False, True)}


def test_runbooks_lead_to_a_heading() -> None:
    expected = [
        alert["exp_annotations"]["runbook"]
        for test in TESTS
        for one in test["alert_rule_test"]
        for alert in one.get("exp_alerts", ())
    ]
    assert len(expected) >= len(RULES)
    for runbook in expected:
        document, _, anchor = runbook.partition("#")
        assert anchor in anchors(Path(document)), runbook


def test_the_document_has_each_rule() -> None:
    rows = re.findall(
        r"^\| `(Sockbpf\w+)` \| (\w+) \| .+ \| ([\w ]+) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    assert rows == [(rule["alert"], rule["labels"]["severity"], rule.get("for", "at once")) for rule in RULES]


def test_every_counter_of_losses_has_an_alert() -> None:
    (lost,) = (rule["expr"] for rule in RULES if rule["alert"] == "SockbpfLost")
    named = re.findall(r'increase\(sockbpf_(\w+)_total\[15m\]\), "counter", "(\w+)"', lost)
    assert {metric for metric, _ in named} == set(LOSSES) - {"given_up"}
    assert all(metric == label for metric, label in named)
    assert any("given_up" in rule["expr"] for rule in RULES)


def test_the_dashboard_has_what_grafana_needs() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert DASHBOARD["templating"]["list"][0]["name"] == "datasource"
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        places = {
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        }
        assert not places & taken, f"{panel['title']} lies over another"
        assert at["x"] + at["w"] <= 24
        taken |= places
        if panel["type"] != "row":
            assert panel["datasource"] == source
            assert all(target["datasource"] == source for target in panel["targets"])
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters) > 0
