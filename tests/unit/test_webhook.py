# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A webhook: all fields as JSON, or what the settings make of them; incidents, from their beginning to their end."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.values import values_of
from sockbpf.delivery.destinations.webhook import Webhook
from sockbpf.delivery.transport import TransportError
from sockbpf.record.template import filled, places
from sockbpf.settings.config import load
from sockbpf.settings.destinations import WebhookSettings
from tests.unit.told_alerts import HEARTBEAT, INCIDENT, TOLD, Answered, Posts, posted, told

SENTENCE = (
    "RECV queue of tcp 10.0.0.1:443 to [::1]:40000 holds 9007 bytes, over 8009 (nginx, pid 4711): "
    "the reader is stopped: nginx (pid 4711), state T"
)


@contextmanager
def hooked(status: int = 200, **keys: Any) -> Iterator[tuple[Posts, Webhook]]:
    with posted(lambda _: Answered(status)) as posts:
        its = WebhookSettings.model_validate({"url": f"{posts.url}?key=s3cret", **keys})
        with closing(Webhook(its)) as webhook:
            yield posts, webhook


def test_without_a_body_all_fields_are_sent_numbers_as_numbers() -> None:
    with hooked() as (posts, webhook):
        webhook.send(told())
        webhook.send(HEARTBEAT)
    alert, heartbeat = posts.bodies
    numbers = {
        "timestamp": 1795343123.482913, "local_port": 443, "remote_port": 40000, "size": 9007, "threshold": 8009,
        "peak": 9011, "duration": 0, "seq": 7, "netns": 4026531840, "pid": 4711,
    }  # fmt: skip
    ours = {"incident": INCIDENT, "open": 1, "service": "tcp 443", "summary": SENTENCE}
    assert alert == {**TOLD, **numbers, **ours}
    assert heartbeat == {
        **HEARTBEAT, "timestamp": 1795343123.0, "seq": 7, "alerts": 12, "oldest_undelivered_seconds": 0.5,
        "summary": "heartbeat, last alert 7",
    }  # fmt: skip
    assert posts.headers[0]["Content-Type"] == "application/json"


def test_a_body_is_filled_in(tmp_path: Path) -> None:
    """As the settings have it, from the file to the receiver."""
    with posted(lambda _: Answered(204)) as posts:
        file = tmp_path / "config.yaml"
        file.write_text(f"""\
url: http://127.0.0.1:9/
destinations:
  - type: webhook
    url: {posts.url}
    token: t0k.en
    headers: {{X-Team: net, Content-Type: application/vnd.x+json}}
    body:
      alias: "{{incident}}"
      priority: "{{3}}"
      silent: "{{false}}"
      nothing: "{{null}}"
      braces: "{{{{size}}}}"
      details: {{size: "{{size}}", container: "{{container}}", list: ["{{event}}", plain, "1.0"]}}
      message: "{{host}}: {{size}} of {{threshold}}, {{container}}{{user}}"
""")
        its = load(file).destinations[1]
        assert isinstance(its, WebhookSettings)
        with closing(Webhook(its)) as webhook:
            webhook.send(told())
    assert posts.bodies == [
        {
            "alias": INCIDENT, "priority": 3, "silent": False, "nothing": None, "braces": "{size}",
            "details": {"size": 9007, "container": None, "list": ["exceeded", "plain", "1.0"]},
            "message": "web1: 9007 of 8009, www-data",
        }
    ]  # fmt: skip
    (headers,) = posts.headers
    assert (headers["Authorization"], headers["X-Team"]) == ("Bearer t0k.en", "net")
    assert headers["Content-Type"] == "application/vnd.x+json"


def test_cleared_is_told_when_nothing_of_the_incident_is_over() -> None:
    alerts = [
        ("exceeded", "a"), ("exceeded", "b"), ("ongoing", "b"), ("cleared", "a"), ("cleared", "b"), ("cleared", "c"),
    ]  # fmt: skip
    with hooked() as (posts, webhook):
        for event, id_ in alerts:
            webhook.send(told(event, id_))
    assert [(each["event"], each["id"], each["open"]) for each in posts.bodies] == [
        ("exceeded", "a", 1), ("exceeded", "b", 2), ("ongoing", "b", 2), ("cleared", "b", 0), ("cleared", "c", 0),
    ]  # fmt: skip
    assert {each["incident"] for each in posts.bodies} == {INCIDENT}


@pytest.mark.parametrize(
    ("status", "permanent"), [(400, True), (404, True), (429, False), (500, False), (302, False)]
)
def test_failures_say_no_secret(status: int, permanent: bool) -> None:
    with (
        hooked(status, token="s3cret", body={"a": "{size} s3cret"}) as (posts, webhook),
        pytest.raises(TransportError) as failed,
    ):
        webhook.send(told())
    assert str(failed.value) == f"POST {posts.url}: answered {status}"
    assert failed.value.permanent is permanent
    assert "s3cret" not in "".join(traceback.format_exception(failed.value))


def test_settings_show_no_secret() -> None:
    its = WebhookSettings.model_validate(
        {"url": "http://h/?s3cret", "token": "s3cret", "body": {"a": "s3cret"}, "headers": {"X": "s3cret"}}
    )
    assert "s3cret" not in repr(its) + str(its)


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_field_changes_the_form(comm: str, reason: str) -> None:
    template = {"a": "{comm}", "b": ["x {reason} {comm}", {"c": "{{comm}}"}]}
    values = values_of(TOLD | {"comm": comm, "reason": reason})
    made = json.loads(json.dumps(filled(template, values), allow_nan=False))
    assert made == {
        "a": values["comm"],
        "b": [f"x {values['reason']} {values['comm']}", {"c": "{comm}"}],
    }
    assert str(values["comm"]).isprintable()
    assert json.dumps(made, ensure_ascii=False).encode()


@settings(deadline=None)
@given(st.recursive(st.text("{}a3 ") | st.sampled_from(["{size}", "{{", "{true}"]), st.lists, max_leaves=9))
def test_any_template_is_filled_or_refused(template: Any) -> None:
    found = [name for _, name in places(template)]
    json.dumps(filled(template, {"size": 1}))
    if not found and isinstance(template, str):
        assert filled(template, {}) == template.replace("{{", "{").replace("}}", "}")
