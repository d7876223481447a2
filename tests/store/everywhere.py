# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Receivers of each type of destination but http, file, syslog and store, and the alerts that each has got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sockbpf.delivery.destinations.otlp_names import NAMES
from tests.live.posting import posting
from tests.unit import bigquery_front, hec_receiver, mock_kafka, otlp_receiver, zabbix_trapper

TOPIC = "alerts"
POSTED = ("slack", "chat", "logstash", "pagerduty", "alertmanager")
"""What is posted to one receiver, each by a path of its own."""
BIGQUERY = {"project": "my-project", "dataset": "sockbpf", "table": "alerts"}

Alerts = list[dict[str, Any]]


@dataclass
class Everywhere:
    """The receivers, and the settings by which all of them are told."""

    destinations: list[dict[str, Any]]
    posted: dict[str, list[bytes]]
    splunk: hec_receiver.Collector
    kafka: mock_kafka.Cluster
    bigquery: bigquery_front.Front
    otlp: otlp_receiver.Received
    zabbix: zabbix_trapper.Server

    def bodies(self, name: str) -> list[Any]:
        return [json.loads(body) for body in list(self.posted[name])]

    def records(self) -> Alerts:
        """Return the alerts of OTLP by our names."""
        ours = {theirs: name for name, theirs in NAMES.items()}
        records = [otlp_receiver.attributes(record.attributes) for record in self.otlp.records()]
        return [{ours.get(name, name): value for name, value in each.items()} for each in records]

    def alerts(self) -> dict[str, Alerts]:
        """Return what each has got that is told of all queues, not of incidents."""
        return {
            "splunk": self.splunk.alerts(),
            "kafka": [json.loads(each.value()) for each in self.kafka.kept(TOPIC)],
            "bigquery": list(self.bigquery.kept.values()),
            "otlp": self.records(),
            "zabbix": [json.loads(each["data"][0]["value"]) for each in list(self.zabbix.requests)],
            "logstash": self.bodies("logstash"),
        }

    def raws(self) -> dict[str, bytes]:
        """Return all that each has got."""
        texts = {name: b"\n".join(self.posted[name]) for name in POSTED}
        return texts | {name: json.dumps(alerts).encode() for name, alerts in self.alerts().items()}


@contextmanager
def everywhere() -> Iterator[Everywhere]:
    """Run the receivers."""
    with ExitStack() as stack:
        posted: dict[str, list[bytes]] = {name: [] for name in POSTED}
        url = stack.enter_context(posting(lambda path, body: posted[path.split("/")[1]].append(body)))
        splunk = stack.enter_context(hec_receiver.collector())
        kafka = stack.enter_context(mock_kafka.cluster(TOPIC))
        bigquery = stack.enter_context(bigquery_front.front())
        otlp = stack.enter_context(otlp_receiver.receiver())
        zabbix = stack.enter_context(zabbix_trapper.server(zabbix_trapper.say(zabbix_trapper.TAKEN)))
        destinations: list[dict[str, Any]] = [
            {"type": "slack", "url": f"{url}/slack/x"},
            {"type": "webhook", "name": "chat", "url": f"{url}/chat", "body": {"text": "{summary}"}},
            {"type": "webhook", "name": "logstash", "url": f"{url}/logstash", "incidents": False},
            {"type": "pagerduty", "url": f"{url}/pagerduty", "routing_key": 4 * "0f1b6c9e"},
            {"type": "alertmanager", "url": f"{url}/alertmanager"},
            {"type": "splunk", "url": splunk.url, "token": hec_receiver.TOKEN},
            {"type": "kafka", "brokers": kafka.addresses, "topic": TOPIC},
            {"type": "bigquery", "endpoint": bigquery.url, **BIGQUERY},
            {"type": "otlp", "url": otlp.url},
            {"type": "zabbix", "address": f"127.0.0.1:{zabbix.port}"},
        ]
        yield Everywhere(destinations, posted, splunk, kafka, bigquery, otlp, zabbix)
