# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of destinations. A new one needs its file in this folder, its settings, and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.alertmanager import Alertmanager
from sockbpf.delivery.destinations.bigquery import BigQuery
from sockbpf.delivery.destinations.http_get import HttpGet
from sockbpf.delivery.destinations.json_lines import JsonLines
from sockbpf.delivery.destinations.kafka import Kafka
from sockbpf.delivery.destinations.otlp import Otlp
from sockbpf.delivery.destinations.pagerduty import PagerDuty
from sockbpf.delivery.destinations.slack import Slack
from sockbpf.delivery.destinations.splunk import Splunk
from sockbpf.delivery.destinations.store import Store
from sockbpf.delivery.destinations.syslog import Syslog
from sockbpf.delivery.destinations.webhook import Webhook
from sockbpf.delivery.destinations.zabbix import Zabbix
from sockbpf.delivery.incidents import Told
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sockbpf.delivery.transport import BatchDestination, Destination
    from sockbpf.settings.destinations import AnyDestination

MAKERS: Mapping[str, Callable[[Any], Destination | BatchDestination]] = {
    "http": HttpGet,
    "file": lambda its: JsonLines(path=its.path),
    "syslog": lambda its: Syslog(
        address=its.address, facility=its.facility, timeout_s=its.timeout, form=its.format
    ),
    "slack": lambda its: Slack(url=its.url, timeout_s=its.timeout),
    "alertmanager": lambda its: Alertmanager(
        url=its.url, timeout_s=its.timeout, labels=its.labels, hide_path=isinstance(its.url, Secret)
    ),
    "zabbix": lambda its: Zabbix(address=its.address, host=its.host, timeout_s=its.timeout),
    "webhook": Webhook,
    "pagerduty": PagerDuty,
    "store": Store,
    "otlp": Otlp,
    "kafka": Kafka,
    "splunk": Splunk,
    "bigquery": BigQuery,
}
"""Type, as in the settings -> what makes a destination of its settings."""

ONE_WRITER = frozenset({"file", "syslog", "alertmanager", "webhook", "pagerduty", "kafka", "bigquery"})
"""The types for which more than one worker would gain nothing, or to which several episodes are one alert."""

INCIDENTS: Mapping[str, Told] = {
    "slack": Told.MESSAGES,
    "alertmanager": Told.STATES,
    "webhook": Told.STATES,
    "pagerduty": Told.STATES,
}
"""The types that are told incidents, not sockets: of both ends of a connection within the host they hear once."""


def how_told(settings: AnyDestination) -> Told | None:
    """Return how a destination is told incidents; None if it is told each alert."""
    return INCIDENTS.get(settings.type) if getattr(settings, "incidents", True) else None
