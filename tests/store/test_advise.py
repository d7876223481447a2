# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf advise` asks a running store; the rules that it writes are taken, and tell what it said they would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sockbpf.cli import main
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.settings.config import load
from tests.store.advised_services import fill
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN

MIB = 2**20


def test_advice_of_a_running_store(
    start: StartStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = start(f"sqlite:///{tmp_path / 'alerts.sqlite'}", token=TOKEN)
    settings = yaml.safe_load(store.config.read_text())
    config = tmp_path / "monitor.yaml"
    config.write_text(yaml.safe_dump(settings | {"http": {"token": TOKEN}}))
    words = ["advise", "-c", str(config), "--host", "web1"]
    assert main(words) == 1
    assert "no history" in capsys.readouterr().out
    fill(store)
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    by_name = {each["service"]: each for each in said["services"]}
    backup, web, user = by_name["873"], by_name["nginx.service"], by_name["user-1000.slice"]
    assert (backup["told"], backup["size"]["p99"], backup["busy_s"]) == (5, 5 * MIB, 600)
    assert backup["process"] == "rsync"
    assert "between 02:00 and 03:00: a rule for it" in backup["reason"]
    exact = {each["threshold"]: each["most"] for each in backup["tried"] if each["exact"]}
    assert exact[8 * MIB] == 0
    assert (web["told"], web["proposal"]["threshold"], web["proposal"]["most"]) == (0, 32_768, 0)
    assert user["proposal"] is None
    assert main(words) == 0
    page = capsys.readouterr().out
    assert "nginx.service" in page
    assert "rsync" in page
    assert main([*words, "--write"]) == 0
    config.write_text(config.read_text() + capsys.readouterr().out)
    rules = rules_of(load(config))
    assert [(rule.match.processes, rule.match.units, rule.decision.threshold[0]) for rule in rules] == [
        (("rsync",), (), 8 * MIB), ((), ("nginx.service",), 32_768),
    ]  # fmt: skip
    assert main([*words, "--service", "873"]) == 0
    assert "some of its sockets only" in capsys.readouterr().out


def test_a_store_that_refuses_or_is_away_is_named(
    start: StartStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = start(f"sqlite:///{tmp_path / 'alerts.sqlite'}", token=TOKEN)
    assert main(["advise", "-c", str(store.config), "--host", "web1"]) == 3
    assert "answered 401" in capfd.readouterr().err
    store.stop()
    assert main(["advise", "-c", str(store.config)]) == 3
    said = capfd.readouterr().err
    assert "Connection refused" in said
    assert TOKEN not in said
    assert main(["advise", "-c", str(store.config), "--since", "1m"]) == 2
    config = tmp_path / "without.yaml"
    config.write_text("url: http://192.0.2.1/alert\n")
    assert main(["advise", "-c", str(config)]) == 2
    assert "no destination leads to a store" in capfd.readouterr().err
