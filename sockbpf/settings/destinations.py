# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The settings of the destinations: a model for each type.

A new type needs its model and its row in MODELS.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from sockbpf.record.alert import EVENTS, OF_MONITOR
from sockbpf.record.event import Direction
from sockbpf.settings.addresses import (
    WHERE,
    HostPort,
    SyslogAddress,
    base_url,
    host_port,
    store_url,
    syslog_address,
    web_url,
)
from sockbpf.settings.bigquery import BigQueryOptions
from sockbpf.settings.body import json_template
from sockbpf.settings.fields import Section, absolute_path, duration, flag, number, one_of, whole
from sockbpf.settings.http import HttpOptions
from sockbpf.settings.kafka import KafkaOptions
from sockbpf.settings.naming import Name
from sockbpf.settings.otlp import OtlpOptions, endpoint
from sockbpf.settings.secret import secret, unless_plain
from sockbpf.settings.splunk import SplunkOptions, collector

ALL_EVENTS = (*EVENTS, *OF_MONITOR)
"""The events that a destination can get."""

DIRECTIONS = tuple(each.name for each in Direction)
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock"),
    *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)


def _some_once(value: object) -> object:
    if isinstance(value, list) and (not value or any(value.count(item) > 1 for item in value)):
        raise ValueError("expected a list with something in it and nothing twice")
    return value


def _syslog(value: object) -> SyslogAddress:
    return value if isinstance(value, SyslogAddress) else syslog_address(str(value))


def _host_port(value: object) -> HostPort:
    return value if isinstance(value, HostPort) else host_port(str(value))


def _zabbix_host(value: object) -> str:
    """Check for what Zabbix allows in the name of a host; an empty one is none."""
    if not isinstance(value, str) or not re.fullmatch(
        r"([0-9A-Za-z_.-]([0-9A-Za-z_. -]{0,126}[0-9A-Za-z_.-])?)?", value
    ):
        raise ValueError("expected a host's name in Zabbix, of letters, digits, spaces and _.-, such as web1")
    return value


PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
"""Where PagerDuty takes events; its service region EU has another host."""

LABELS = ("alertname", "severity", "instance", "service", "direction", "unit", "comm")
"""The labels that an alert has of itself at Alertmanager."""

MOST_LABELS = 20


def _label_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise ValueError("expected names of labels, of letters, digits and _, such as team")
    if value in LABELS:
        raise ValueError(f"expected names of labels other than {', '.join(LABELS)}")
    return value


def _label_value(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():  # noqa: PLR2004
        raise ValueError("expected the value of a label, one line of at most 256 characters")
    return value


def _few(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > MOST_LABELS:
        raise ValueError(f"expected at most {MOST_LABELS} labels")
    return labels


def _routing_key(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{32}", text):
        raise ValueError("expected the integration key of a service, 32 letters and digits")
    return text


LabelName = Annotated[str, BeforeValidator(_label_name)]
LabelValue = Annotated[str, BeforeValidator(_label_value)]
Rate = Annotated[float, number("0", "1000000", "10")]
Burst = Annotated[int, whole(1, 1_000_000)]
Timeout = Annotated[float, duration("1ms", "10m")]
Events = Annotated[frozenset[Annotated[str, one_of(ALL_EVENTS)]], BeforeValidator(_some_once)]
Directions = Annotated[frozenset[Annotated[str, one_of(DIRECTIONS)]], BeforeValidator(_some_once)]


class DestinationSettings(Section):
    """The keys of every type: which alerts it gets and how fast.

    `rate` is alerts per second (0: no limit) after the first `burst`, `timeout` the seconds that one may take.
    """

    type: str = Field(description="what it is, such as http")
    name: Name
    events: Events = frozenset(ALL_EVENTS)
    types: Directions = frozenset(DIRECTIONS)
    rate: Rate = 0.0
    burst: Burst = 100
    timeout: Timeout = 15.0


class HttpSettings(HttpOptions, DestinationSettings):
    """The HTTP GET; where `url` is a Secret, logs show no path of it."""

    type: Literal["http"] = "http"
    name: Name = "http"
    url: Annotated[str, PlainValidator(unless_plain(web_url))] = Field(repr=False, description=WHERE)


class FileSettings(DestinationSettings):
    """A file that gets one line of JSON for each alert."""

    type: Literal["file"] = "file"
    name: Name = "file"
    path: Annotated[Path, PlainValidator(absolute_path)] = Field(description="the absolute path of a file")


class SyslogSettings(DestinationSettings):
    """A syslog daemon, here or elsewhere; `format` is that of UDP and TCP."""

    type: Literal["syslog"] = "syslog"
    name: Name = "syslog"
    address: Annotated[SyslogAddress, PlainValidator(_syslog)] = SyslogAddress("unix", "/dev/log")
    facility: Annotated[str, one_of(FACILITIES)] = "daemon"
    format: Literal["rfc5424", "rfc3164"] = "rfc5424"


class SlackSettings(DestinationSettings):
    """An incoming webhook of Slack; the whole `url` is a Secret."""

    type: Literal["slack"] = "slack"
    name: Name = "slack"
    url: Annotated[str, PlainValidator(secret(web_url))] = Field(repr=False, description=WHERE)


class AlertmanagerSettings(DestinationSettings):
    """Prometheus Alertmanager; `url` is what stands before /api/v2/alerts, `labels` go with each alert."""

    type: Literal["alertmanager"] = "alertmanager"
    name: Name = "alertmanager"
    url: Annotated[str, PlainValidator(unless_plain(base_url))] = Field(repr=False, description=WHERE)
    labels: Annotated[dict[LabelName, LabelValue], AfterValidator(_few)] = Field(default={})


class ZabbixSettings(DestinationSettings):
    """A Zabbix server or proxy; an empty `host` stands for the host name that the alert has."""

    type: Literal["zabbix"] = "zabbix"
    name: Name = "zabbix"
    address: Annotated[HostPort, PlainValidator(_host_port)] = Field(
        description="where a Zabbix server or proxy listens, such as 127.0.0.1:10051"
    )
    host: Annotated[str, PlainValidator(_zabbix_host)] = ""


class WebhookSettings(HttpOptions, DestinationSettings):
    """An HTTP POST of JSON: `body` is its template, None: all fields. No path of a Secret `url` is shown.

    With `incidents` it hears of several queues of one service once, and when all are over; else each alert.
    """

    type: Literal["webhook"] = "webhook"
    name: Name = "webhook"
    url: Annotated[str, PlainValidator(unless_plain(web_url))] = Field(repr=False, description=WHERE)
    events: Events = frozenset(EVENTS)
    incidents: Annotated[bool, BeforeValidator(flag)] = True
    body: Annotated[dict[str, Any] | None, PlainValidator(json_template)] = Field(default=None, repr=False)


class PagerDutySettings(DestinationSettings):
    """A service of PagerDuty, by its integration key; `url` is where the Events API v2 is."""

    type: Literal["pagerduty"] = "pagerduty"
    name: Name = "pagerduty"
    url: Annotated[str, PlainValidator(unless_plain(web_url))] = Field(default=PAGERDUTY, repr=False)
    routing_key: Annotated[str, PlainValidator(secret(_routing_key))] = Field(
        repr=False, description="the integration key of a service of PagerDuty, Events API v2"
    )


class BatchStoreSettings(HttpOptions, DestinationSettings):
    """A store of ours, which gets many alerts by one request; `url` is what stands before /alerts."""

    type: Literal["store"] = "store"
    name: Name = "store"
    url: Annotated[str, PlainValidator(unless_plain(store_url))] = Field(
        repr=False, description="where a store listens, such as https://store.example:8080"
    )


class OtlpSettings(OtlpOptions, DestinationSettings):
    """A receiver of OTLP over HTTP; `url` is what stands before /v1/logs."""

    type: Literal["otlp"] = "otlp"
    name: Name = "otlp"
    url: Annotated[str, PlainValidator(unless_plain(endpoint))] = Field(
        repr=False, description="where OTLP is received over HTTP, such as http://127.0.0.1:4318"
    )


class KafkaSettings(KafkaOptions, DestinationSettings):
    """A topic of Kafka, or of a broker that speaks its protocol."""

    type: Literal["kafka"] = "kafka"
    name: Name = "kafka"


class SplunkSettings(SplunkOptions, DestinationSettings):
    """Splunk's HTTP event collector; `url` is what stands before /services/collector."""

    type: Literal["splunk"] = "splunk"
    name: Name = "splunk"
    url: Annotated[str, PlainValidator(unless_plain(collector))] = Field(
        repr=False, description="where an HTTP event collector listens, such as https://splunk.example:8088"
    )


class BigQuerySettings(BigQueryOptions, DestinationSettings):
    """A table of Google BigQuery."""

    type: Literal["bigquery"] = "bigquery"
    name: Name = "bigquery"


AnyDestination = (
    HttpSettings
    | FileSettings
    | SyslogSettings
    | SlackSettings
    | AlertmanagerSettings
    | ZabbixSettings
    | WebhookSettings
    | PagerDutySettings
    | BatchStoreSettings
    | OtlpSettings
    | KafkaSettings
    | SplunkSettings
    | BigQuerySettings
)
MODELS: Mapping[str, type[AnyDestination]] = {
    "http": HttpSettings,
    "file": FileSettings,
    "syslog": SyslogSettings,
    "slack": SlackSettings,
    "alertmanager": AlertmanagerSettings,
    "zabbix": ZabbixSettings,
    "webhook": WebhookSettings,
    "pagerduty": PagerDutySettings,
    "store": BatchStoreSettings,
    "otlp": OtlpSettings,
    "kafka": KafkaSettings,
    "splunk": SplunkSettings,
    "bigquery": BigQuerySettings,
}
"""Type -> the model of its settings."""
