# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is secret arrives where it should, and is nowhere else, whatever goes wrong.

Receivers fail in every way, settings are faulty and corrupted, the journal is set aside: then all that the monitor
wrote and said is searched for every piece of every secret.
"""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from sockbpf.errors import ConfigError
from sockbpf.settings.config import load
from tests.live.crossing import cross, stand_over
from tests.live.failing_receivers import WAYS, Receivers, failing
from tests.live.monitoring import Monitor, StartMonitor, sockbpf, thresholds
from tests.live.ports import free_port
from tests.live.reloading import hang_up
from tests.live.secret_settings import (
    BASE,
    BODY,
    HEADER,
    PASSWORD,
    PATH_ENV,
    QUERY,
    ROUTING,
    SLACK,
    TOKEN_ENV,
    TOKEN_FILE,
    basic,
    corrupted,
    faulty,
    leaks,
)
from tests.live.waiting import until


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with failing() as made:
        yield made


@pytest.fixture
def settings(receivers: Receivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All kinds of secrets, in all the places where they may be."""
    here = f"127.0.0.1:{receivers.port}"
    token, slack = tmp_path / "token", tmp_path / "slack"
    token.write_text(TOKEN_FILE + "\n")
    slack.write_text(f"http://{here}/slack/{SLACK}\n")
    monkeypatch.setenv("OUR_TOKEN", TOKEN_ENV)
    monkeypatch.setenv("OUR_URL", f"http://{here}/hidden/{PATH_ENV}")
    login = f"watch:{PASSWORD}"
    return {
        "url": f"http://{login}@{here}/main?key={QUERY}",
        "http": {"headers": {"X-Key": HEADER}},
        "thresholds": thresholds(20_011),
        "events": ["exceeded", "ongoing", "cleared"],
        "heartbeat": "1s",
        "delivery": {"timeout": "300ms", "retry_first": "10ms", "retry_max": "50ms"},
        "log": "debug",
        "destinations": [
            {"type": "http", "name": "filed", "url": f"http://{here}/filed", "token": {"file": str(token)}},
            {"type": "http", "name": "env", "url": f"http://{here}/env", "token": {"env": "OUR_TOKEN"}},
            {"type": "http", "name": "hidden", "url": {"env": "OUR_URL"}},
            {"type": "slack", "url": {"file": str(slack)}},
            {"type": "alertmanager", "url": f"http://alert:{BASE}@{here}/am"},
            {"type": "pagerduty", "url": f"http://{here}/pager", "routing_key": ROUTING},
            {
                "type": "webhook",
                "url": f"http://{here}/hook?key={QUERY}",
                "headers": {"X-Key": HEADER},
                "body": {"key": BODY, "text": "{summary}"},
            },
            {
                "type": "otlp",
                "url": f"http://watch:{PASSWORD}@{here}/otlp",
                "headers": {"X-Key": HEADER},
                "metrics": "1s",
            },
            {"type": "store", "url": f"http://{here}/store", "token": {"file": str(token)}},
            {"type": "splunk", "url": f"http://{here}/splunk", "token": {"env": "OUR_TOKEN"}},
            {
                "type": "kafka",
                "brokers": [f"127.0.0.1:{free_port()}"],
                "topic": "t",
                "user": "watch",
                "password": PASSWORD,
            },
            # Never taken: not TLS, nobody there, no such name.
            {"type": "http", "name": "tls", "url": f"https://{login}@{here}/tls?key={QUERY}"},
            {
                "type": "http",
                "name": "nobody",
                "url": f"http://{login}@127.0.0.1:{free_port()}/?key={QUERY}",
            },
            {"type": "slack", "name": "no-name", "url": f"https://{login}@no-such.invalid/{SLACK}"},
        ],
    }


def test_faulty_and_corrupted_settings_tell_no_secret(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    found: dict[str, str] = {}
    refused = 0
    whole = yaml.safe_dump(settings, sort_keys=False)
    tries = [*corrupted(whole), *(yaml.safe_dump(each).encode() for each in faulty(settings))]
    for raw in tries:
        file.write_bytes(raw)
        try:
            shown = repr(load(file))
        except ConfigError as error:
            refused += 1
            shown = str(error)
        for line in shown.splitlines():
            if leaks(line):
                found.setdefault(line.split(": ", 1)[-1][:60], f"{line}\n  {leaks(line)}")
    print(f"{refused} of {len(tries)} refused")
    assert refused > len(tries) / 4
    assert not found, f"{len(found)} kinds:\n" + "\n".join(found.values())


def test_the_monitor_tells_no_secret(
    start_monitor: StartMonitor,
    receivers: Receivers,
    settings: dict[str, Any],
    stack: ExitStack,
    tmp_path: Path,
) -> None:
    said: dict[str, str | bytes] = {}
    listen = f"127.0.0.1:{free_port()}"
    journal = tmp_path / "journal" / "journal"
    settings |= {"metrics": {"listen": listen}, "journal": {"path": str(journal)}}
    monitor = start_monitor(**settings)
    staying = stand_over(stack)
    cross(37)
    names = {"main", "filed", "env", "hidden", "slack", "am", "otlp", "store", "splunk"}
    until(
        lambda: all(receivers.seen.get(name, 0) > len(WAYS) for name in names),
        lambda: f"every way to fail: {receivers.seen}",
    )
    monitor.process.send_signal(signal.SIGUSR1)
    until(lambda: " counters: " in monitor.log(), "the counters")
    file = monitor.log_file.with_name("config.yaml")
    whole = file.read_text()
    for each in faulty(settings):
        file.write_text(yaml.safe_dump(each))
        hang_up(monitor)
        said[f"check {len(said)}"] = run_check(file, 2)
    for raw in list(corrupted(whole))[:7]:
        file.write_bytes(raw)
        hang_up(monitor)
    file.write_text(whole)
    hang_up(monitor)
    assert monitor.log().count("the settings are kept") >= len(faulty(settings))
    with urllib.request.urlopen(f"http://{listen}/metrics") as metrics:
        said["metrics"] = metrics.read()
    assert b"sockbpf_owed" in bytes(said["metrics"])  # type: ignore[arg-type]
    said["second monitor"] = subprocess.run(
        sockbpf("-c", str(file), "--beside"), capture_output=True, text=True, check=False
    ).stderr
    assert "another sockbpf has it" in said["second monitor"] or "cannot serve" in said["second monitor"]
    said |= files_of(monitor, journal)
    assert monitor.stop() == 0
    said["log"] = monitor.log()
    assert "given up" in said["log"]

    journal.write_bytes(bytes(1000))
    receivers.good.set()
    monitor = start_monitor(**settings)
    assert "set aside" in monitor.log()
    cross(1)
    until(lambda: names <= receivers.taken.keys(), lambda: f"taken by all: {receivers.taken.keys()}")
    said["check"] = run_check(file, 0)
    said |= {f"{name}, later": text for name, text in files_of(monitor, journal).items()}
    assert monitor.stop() == 0
    said["log, later"] = monitor.log()
    del staying

    assert_arrived(receivers.taken)
    print({name: len(text) for name, text in said.items() if not name.startswith("comm ")})
    assert any("unreadable" in name for name in said)
    for name, text in said.items():
        assert text, name
        shown = [line for line in str(text).splitlines() if leaks(line)]
        assert not leaks(text), f"{name}: {leaks(text)} in {shown[:3]}"


def run_check(file: Path, code: int) -> str:
    ran = subprocess.run(
        sockbpf("check", "-c", str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout
    return ran.stdout


def files_of(monitor: Monitor, journal: Path) -> dict[str, str | bytes]:
    """Return all that the monitor keeps on the disk, and what everybody sees of it."""
    found: dict[str, str | bytes] = {
        each.name: each.read_bytes() for each in journal.parent.iterdir() if each.stat().st_size
    }
    found["cmdline"] = Path(f"/proc/{monitor.pid}/cmdline").read_bytes()
    for task in Path(f"/proc/{monitor.pid}/task").iterdir():
        found[f"comm {task.name}"] = (task / "comm").read_bytes()
    return found


def assert_arrived(taken: dict[str, tuple[str, str]]) -> None:
    """Assert that each secret was where it belongs."""
    belongs: dict[str, Callable[[str, str], bool]] = {
        "main": lambda target, headers: (
            f"key={QUERY}" in target
            and f"Basic {basic('watch', PASSWORD)}" in headers
            and f"X-Key: {HEADER}" in headers
        ),
        "filed": lambda _, headers: f"Bearer {TOKEN_FILE}" in headers,
        "env": lambda _, headers: f"Bearer {TOKEN_ENV}" in headers,
        "splunk": lambda _, headers: f"Splunk {TOKEN_ENV}" in headers,
        "hidden": lambda target, _: PATH_ENV in target,
        "slack": lambda target, _: target.endswith(SLACK),
        "am": lambda _, headers: f"Basic {basic('alert', BASE)}" in headers,
    }
    for name, is_there in belongs.items():
        assert is_there(*taken[name]), (name, taken[name])
