# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A field that others may choose, with a hostile text, in the form of each destination: none is misled by it."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from sockbpf.delivery.destinations.alertmanager import alert_of
from sockbpf.delivery.destinations.bigquery_rows import insert_id, row
from sockbpf.delivery.destinations.json_lines import line_of
from sockbpf.delivery.destinations.otlp_wire import logs_request
from sockbpf.delivery.destinations.pagerduty import payload_of
from sockbpf.delivery.destinations.slack import text_of
from sockbpf.delivery.destinations.syslog_message import rfc5424, syslog3
from sockbpf.delivery.destinations.values import MOST_CHARACTERS
from sockbpf.delivery.destinations.webhook import values
from sockbpf.delivery.destinations.zabbix_message import VALUE_BYTES, value_of
from sockbpf.record.alert import log_line
from sockbpf.record.cell import harmless
from sockbpf.record.fields import FIELDS
from sockbpf.record.incident import incident_of
from sockbpf.record.template import filled
from tests.unit.otlp_receiver import attributes

TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "RECV", "condition": "size",
    "severity": "warning", "size": "9", "threshold": "8", "peak": "9", "duration": "0", "id": "e", "seq": "7",
    "host": "h", "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "nginx",
}  # fmt: skip
CHOSEN = [field.name for field in FIELDS if field.chosen]
HOSTILE = {
    "line": "a\nevent=cleared id=0\r\x0b\x85\u2028b",
    "terminal": "\x1b[31mA\x07\x9b2J\x1b]0;owned\x07",
    "html": "<b>x</b><script>alert(1)</script>&amp;\"'",
    "mention": "<!channel> @channel *b* `c` <http://x|y>",
    "formula": "=cmd|' /C calc'!A0",
    "structured": '"] [x@1 a="b" \\',
    "long": "x" * 4096,
}
SYSLOG_BYTES = 2048
MARKUP = ("<!channel", "@channel", "<b>", "<http", "*b*", "`c`")
"""What a chat would take for more than text."""
CHAT = {"title": "{incident}", "text": "{summary}"}
"""The body of a webhook that docs/told.md begins with."""


def fields_with(name: str, case: str) -> dict[str, str]:
    return TOLD | {name: HOSTILE[case]}


def test_all_that_is_known_of_an_owner_may_be_hostile() -> None:
    assert {"comm", "user", "unit", "container", "cgroup", "netns_name", "cmdline", "peer_comm", "host"} <= {
        *CHOSEN
    }


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", CHOSEN)
def test_no_destination_is_misled(name: str, case: str) -> None:
    fields = fields_with(name, case)
    assert log_line(fields).isprintable()
    for message in (
        rfc5424(fields, facility=3, pid=1, limit=SYSLOG_BYTES),
        syslog3(fields, facility=3, pid=1, limit=SYSLOG_BYTES),
    ):
        assert len(message) <= SYSLOG_BYTES
        assert message.replace(b"\xef\xbb\xbf", b"").decode().isprintable()
    line = line_of(fields)
    assert "\n" not in line
    assert json.loads(line)[name] == HOSTILE[case]
    slack = text_of(fields)
    assert slack.replace("\n", "").isprintable()
    assert slack.count("\n") <= 2
    assert not [each for each in MARKUP if each in slack]
    posted = alert_of(fields)
    for text in posted["labels"].values():
        assert text.isprintable()
    assert all(isinstance(text, str) for text in posted["annotations"].values())
    assert len(value_of(fields)) <= VALUE_BYTES
    assert value_of(fields).isascii()
    assert not harmless(HOSTILE["formula"]).startswith("=")


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", CHOSEN)
def test_no_receiver_of_json_is_misled(name: str, case: str) -> None:
    """Their texts are text, of one line and of a bounded length; what people read first has no markup."""
    fields = fields_with(name, case)
    chat = filled(CHAT, values(fields, {"incident": incident_of(TOLD)}))
    assert chat.keys() == CHAT.keys()
    assert not [each for each in MARKUP if each in chat["text"]]
    payload = payload_of(fields)
    made = ExportLogsServiceRequest.FromString(logs_request([fields], {}, 1))
    ((record,),) = [scope.log_records for of in made.resource_logs for scope in of.scope_logs]
    told = attributes(record.attributes)
    texts = [*chat.values(), payload["summary"], payload["source"], *payload["custom_details"].values()]
    texts += [*values(fields, {}).values(), *row(fields).values(), record.body.string_value, *told.values()]
    for text in texts:
        assert not isinstance(text, str) or (text.isprintable() and len(text) <= MOST_CHARACTERS)
    assert len(payload["summary"]) <= 1024
    assert len(insert_id(fields)) <= 128
    assert json.loads(json.dumps(payload)) == payload
