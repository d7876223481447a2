# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a person does in Zabbix's frontend, by its API: import templates, make a host, look at items and problems."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.live.waiting import until

PAUSE_S = 0.1
"""From one look to the next: each costs a process some time."""

ALL = {"createMissing": True, "updateExisting": True}
PARTS = ("items", "triggers", "graphs", "discoveryRules", "templateDashboards", "valueMaps")
RULES = {
    **dict.fromkeys(("templates", *PARTS), ALL),
    "template_groups": {"createMissing": True},
    "templateLinkage": {"createMissing": True},
}
"""What an import does, as the form of the frontend has it."""


@dataclass
class Api:
    """A session at the frontend."""

    url: str
    hostid: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json-rpc"})

    def call(self, method: str, **params: Any) -> Any:
        """Return the result of a method; fail with what the API says."""
        asked: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or [], "id": 1}
        request = urllib.request.Request(self.url, json.dumps(asked).encode(), self.headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.load(answer)
        assert "error" not in said, f"{method}: {said}"
        return said["result"]

    def is_there(self) -> bool:
        try:
            return bool(self.call("apiinfo.version"))
        except (OSError, urllib.error.URLError):
            return False

    def log_in(self) -> None:
        """Log in as a new server's own user."""
        token = self.call("user.login", username="Admin", password="zabbix")
        self.headers["Authorization"] = f"Bearer {token}"

    def import_templates(self, text: str) -> None:
        """Do what the form of the frontend does with a file."""
        assert self.call("configuration.import", format="yaml", source=text, rules=RULES) is True

    def template(self, name: str, **more: str) -> Any:
        (found,) = self.call("template.get", filter={"host": name}, output=["templateid"], **more)
        return found

    def names_of(self, name: str) -> dict[str, set[str]]:
        """Return the names of all that a template has here, by kind; items by their keys."""
        parts = {"Items": "key_", "Triggers": "description", "Discoveries": "key_", "Macros": "macro"}
        its = self.template(name, selectDashboards="extend", **{f"select{part}": "extend" for part in parts})
        of = {"templateids": [its["templateid"]]}

        def prototypes(kind: str, key: str) -> set[str]:
            return {each[key] for each in self.call(f"{kind}prototype.get", **of, output=[key])}

        items, triggers, rules, macros = (
            {each[key] for each in its[part.lower()]} for part, key in parts.items()
        )
        return {
            "items": items,
            "triggers": triggers,
            "discoveryrules": rules,
            "item prototypes": prototypes("item", "key_"),
            "trigger prototypes": prototypes("trigger", "description"),
            "graph prototypes": prototypes("graph", "name"),
            "macros": macros,
            "dashboards": {each["name"] for each in its["dashboards"]},
        }

    def make_host(self, name: str, templates: Sequence[str], agent_port: int, macros: dict[str, str]) -> None:
        """Make a host with these templates and its agent on loopback; what is asked below is asked of it."""
        (group,) = self.call("hostgroup.create", name="Watched")["groupids"]
        linked = [self.template(each) for each in templates]
        interface = {
            "type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": str(agent_port),
        }  # fmt: skip
        (self.hostid,) = self.call(
            "host.create", host=name, groups=[{"groupid": group}], templates=linked, interfaces=[interface],
            macros=[{"macro": macro, "value": value} for macro, value in macros.items()],
        )["hostids"]  # fmt: skip

    def items(self) -> dict[str, dict[str, str]]:
        """Return the host's items by their keys, with their last values and errors."""
        wanted = ["itemid", "key_", "lastvalue", "lastclock", "error", "state", "value_type"]
        return {each["key_"]: each for each in self.call("item.get", hostids=[self.hostid], output=wanted)}

    def problems(self) -> dict[str, dict[str, str]]:
        """Return the host's open problems by their names, each with its tags."""
        found = self.call(
            "problem.get", hostids=[self.hostid], selectTags="extend", output=["name", "severity"]
        )
        return {
            each["name"]: {tag["tag"]: tag["value"] for tag in each["tags"]} | {"severity": each["severity"]}
            for each in found
        }

    def until(self, condition: Callable[[], Any], log: Callable[[], str]) -> Any:
        """Return the first true value of the condition; where none comes, say what items and problems there are."""

        def looked() -> Any:
            time.sleep(PAUSE_S)
            return condition()

        return until(looked, lambda: f"{self.seen()}\n{log()}")

    def seen(self) -> str:
        """Return what the host's items and triggers are, a line for each, and its problems."""
        items = [f"{key}: {its['lastvalue']} {its['error']}" for key, its in self.items().items()]
        triggers = self.call("trigger.get", hostids=[self.hostid], output=["description", "value", "error"])
        said = [f"{each['description']}: {each['value']} {each['error']}" for each in triggers]
        return "\n".join([*items, *said, str(self.problems())])
