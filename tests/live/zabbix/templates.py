# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the file of templates has in it, by the names that Zabbix's API gives to the same things."""

from __future__ import annotations

from typing import Any

import yaml

AGENT, TRAPPER = "Sockbpf by Zabbix agent", "Sockbpf alerts by Zabbix trapper"


def templates(text: str) -> dict[str, Any]:
    """Return the templates by their names."""
    return {each["template"]: each for each in yaml.safe_load(text)["zabbix_export"]["templates"]}


def names_in(text: str, template: str) -> dict[str, set[str]]:
    """Return the names of all that a template has, by kind; items by their keys."""
    its = templates(text)[template]
    rules = its.get("discovery_rules", [])
    prototypes = [each for rule in rules for each in rule["item_prototypes"]]
    return {
        "items": {item["key"] for item in its["items"]},
        "triggers": {trigger["name"] for item in its["items"] for trigger in item.get("triggers", [])},
        "discoveryrules": {rule["key"] for rule in rules},
        "item prototypes": {item["key"] for item in prototypes},
        "trigger prototypes": {
            each["name"] for item in prototypes for each in item.get("trigger_prototypes", [])
        },
        "graph prototypes": {each["name"] for rule in rules for each in rule["graph_prototypes"]},
        "macros": {macro["macro"] for macro in its.get("macros", [])},
        "dashboards": {dashboard["name"] for dashboard in its.get("dashboards", [])},
    }
