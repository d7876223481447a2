# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where alerts go, as config.yaml says it: what each type has by itself, and how a wrong item is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sockbpf.delivery.destinations import syslog_message
from sockbpf.delivery.destinations.table import MAKERS
from sockbpf.monitor.rehearsal import maker_of
from sockbpf.settings.addresses import HOST_PORT, HostPort, SyslogAddress
from sockbpf.settings.config import Config
from sockbpf.settings.destinations import (
    FACILITIES,
    LABELS,
    MODELS,
    AlertmanagerSettings,
    BatchStoreSettings,
    BigQuerySettings,
    FileSettings,
    HttpSettings,
    KafkaSettings,
    OtlpSettings,
    PagerDutySettings,
    SlackSettings,
    SplunkSettings,
    SyslogSettings,
    WebhookSettings,
    ZabbixSettings,
)
from tests.unit.written_destinations import (
    ABSOLUTE,
    KEYS,
    NAMESAKE,
    NOT_MADE,
    SHOWN,
    SYSLOG,
    TLS,
    TYPES,
    URL,
    WEB,
    destinations,
    faults,
)

TOLD = "exceeded, ongoing, cleared, heartbeat, started, stopped"
ZABBIX_HOST = "expected a host's name in Zabbix, of letters, digits, spaces and _.-, such as web1"


def test_the_first_destination_is_that_of_the_url(file: Path, pem: Path) -> None:
    http = f"ca_file: {pem}/ca.pem, client_cert: {pem}/cert.pem, client_key: {pem}/key.pem"
    (first,) = destinations(
        file,
        f"""\
url: {URL}
http: {{{http}, headers: {{X-Team: net}}, token: t0k.en}}
delivery: {{timeout: 3s, rate: 7, burst: 9}}
""",
    )
    assert first == HttpSettings(
        type="http",
        name="http",
        url=URL,
        events=frozenset({"exceeded", "ongoing", "cleared", "heartbeat", "started", "stopped"}),
        types=frozenset({"SEND", "RECV", "ACCEPT", "RATE"}),
        rate=7.0,
        burst=9,
        timeout=3.0,
        ca_file=pem / "ca.pem",
        client_cert=pem / "cert.pem",
        client_key=pem / "key.pem",
        headers={"X-Team": "net"},
        token="t0k.en",
    )
    assert Config(url=URL).destinations == (HttpSettings(url=URL),)


def test_each_type_and_what_it_has_by_itself(file: Path) -> None:
    found = destinations(
        file,
        f"""\
url: {URL}
heartbeat: 1m
delivery: {{timeout: 3s, rate: 7, burst: 9}}
destinations:
  - {{type: http, name: second, url: 'http://u:p@h/', events: [exceeded], types: [RECV], rate: 0.1, burst: 2,
     timeout: 1s}}
  - {{type: file, path: /var/log/alerts.jsonl, events: [heartbeat, ongoing]}}
  - {{type: syslog}}
  - {{type: syslog, name: udp, address: 'udp://192.0.2.1:514', facility: local7}}
  - {{type: syslog, name: tcp, address: 'tcp://[2001:DB8::1]:601'}}
  - {{type: syslog, name: other, address: /run/other.sock}}
  - {{type: syslog, name: old, address: 'udp://h:514', format: rfc3164}}
  - {{type: slack, url: https://hooks.example/services/T/B/x}}
  - {{type: alertmanager, url: http://127.0.0.1:9093/under, labels: {{team: net, site: 'a b'}}}}
  - {{type: webhook, url: 'http://h/x', headers: {{X-Key: k}}, body: {{a: '{{size}}', b: ['{{{{x}}}}', '{{3}}']}}}}
  - {{type: pagerduty, routing_key: {"k" * 32}}}
  - {{type: store, url: 'http://h:1/', token: t, headers: {{X-Key: k}}}}
  - {{type: otlp, url: 'http://h:4318', token: t, resource: {{a.b: c}}, compression: none}}
  - {{type: kafka, brokers: ['k1:9092', '[2001:DB8::1]:9093'], topic: a.b-c_d, tls: true, user: u, password: p,
     mechanism: PLAIN, compression: zstd}}
  - {{type: splunk, url: 'https://h:8088/', token: t, index: net_1, source: s, sourcetype: '', ack: 30s}}
  - {{type: bigquery, project: 'example.com:p-1', dataset: d_1, table: t-1, endpoint: 'http://h:9050'}}
  - {{type: webhook, name: each, url: 'http://h/x', incidents: false}}
  - {{type: zabbix, address: 127.0.0.1:10051}}
  - {{type: zabbix, name: proxy, address: '[2001:DB8::1]:10052', host: web 1}}
""",
    )
    limits: dict[str, Any] = {"rate": 7.0, "burst": 9, "timeout": 3.0}
    assert found[1:] == (
        HttpSettings(
            name="second",
            url="http://u:p@h/",
            events=frozenset({"exceeded"}),
            types=frozenset({"RECV"}),
            rate=0.1,
            burst=2,
            timeout=1.0,
        ),
        FileSettings(
            name="file",
            path=Path("/var/log/alerts.jsonl"),
            events=frozenset({"heartbeat", "ongoing"}),
            **limits,
        ),
        SyslogSettings(name="syslog", facility="daemon", **limits),
        SyslogSettings(
            name="udp", address=SyslogAddress("udp", "192.0.2.1", 514), facility="local7", **limits
        ),
        SyslogSettings(name="tcp", address=SyslogAddress("tcp", "2001:db8::1", 601), **limits),
        SyslogSettings(name="other", address=SyslogAddress("unix", "/run/other.sock", 0), **limits),
        SyslogSettings(name="old", address=SyslogAddress("udp", "h", 514), format="rfc3164", **limits),
        SlackSettings(name="slack", url="https://hooks.example/services/T/B/x", **limits),
        AlertmanagerSettings(
            name="alertmanager",
            url="http://127.0.0.1:9093/under",
            labels={"team": "net", "site": "a b"},
            **limits,
        ),
        WebhookSettings(
            name="webhook",
            url="http://h/x",
            events=frozenset({"exceeded", "ongoing", "cleared"}),
            headers={"X-Key": "k"},
            body={"a": "{size}", "b": ["{{x}}", "{3}"]},
            **limits,
        ),
        PagerDutySettings(name="pagerduty", routing_key="k" * 32, **limits),
        BatchStoreSettings(name="store", url="http://h:1/", token="t", headers={"X-Key": "k"}, **limits),
        OtlpSettings(
            name="otlp", url="http://h:4318", token="t", resource={"a.b": "c"}, compression="none", **limits
        ),
        KafkaSettings(
            name="kafka",
            brokers=(HostPort("k1", 9092), HostPort("2001:db8::1", 9093)),
            topic="a.b-c_d",
            tls=True,
            user="u",
            password="p",
            mechanism="PLAIN",
            compression="zstd",
            **limits,
        ),
        SplunkSettings(
            name="splunk",
            url="https://h:8088/",
            token="t",
            index="net_1",
            source="s",
            sourcetype="",
            compression="gzip",
            ack=30.0,
            **limits,
        ),
        BigQuerySettings(
            project="example.com:p-1", dataset="d_1", table="t-1", endpoint="http://h:9050", **limits
        ),
        WebhookSettings(name="each", url="http://h/x", incidents=False, **limits),
        ZabbixSettings(name="zabbix", address=HostPort("127.0.0.1", 10051), host="", **limits),
        ZabbixSettings(name="proxy", address=HostPort("2001:db8::1", 10052), host="web 1", **limits),
    )
    assert found[3].model_dump()["address"] == ("unix", "/dev/log", 0)
    with pytest.raises(ValidationError):
        found[1].rate = 5.0


def test_the_labels_of_the_host_are_in_the_resource(file: Path) -> None:
    (_, its) = destinations(
        file,
        f"""\
url: {URL}
labels: {{dc: fra1, role: db}}
destinations: [{{type: otlp, url: 'http://h', resource: {{role: web, a.b: c}}}}]
""",
    )
    assert isinstance(its, OtlpSettings)
    assert its.resource == {"dc": "fra1", "role": "web", "a.b": "c"}


def test_certificates_of_kafka_need_tls(file: Path, pem: Path) -> None:
    its = f"{{type: kafka, brokers: ['h:9092'], topic: t, ca_file: {pem}/ca.pem}}"
    assert faults(file, f"url: {URL}\ndestinations: [{its}]\n") == [
        ":2: destinations > item 1 > tls: expected tls: true beside ca_file or client_cert"
    ]


def test_the_facilities_are_those_that_syslog_has() -> None:
    assert FACILITIES == syslog_message.FACILITIES


def test_every_type_can_be_made(file: Path) -> None:
    needed = {
        "http": "name: second, url: 'http://h/'", "file": "path: /x", "syslog": "name: s",
        "slack": "url: 'http://h/'", "alertmanager": "url: 'http://h'", "zabbix": "address: 'h:10051'",
        "webhook": "url: 'http://h/'", "pagerduty": f"routing_key: {'k' * 32}",
        "otlp": "url: 'http://h:4318'", "store": "url: 'http://h:1'", "kafka": "brokers: ['h:9092'], topic: t",
        "splunk": "url: 'http://h:8088', token: t",
        "bigquery": "project: p1, dataset: d, table: t, endpoint: 'http://h:1'",
    }  # fmt: skip
    items = "".join(f"  - {{type: {kind}, {keys}}}\n" for kind, keys in needed.items())
    assert MODELS.keys() == MAKERS.keys()
    for its in destinations(file, f"url: {URL}\ndestinations:\n{items}"):
        maker_of(its)().close()


BAD_ITEMS = {
    "word": ("- file", ": expected keys (type, ...) with their values"),
    "list": ("- [type, file]", ": expected keys (type, ...) with their values"),
    "empty": ("-", ": expected keys (type, ...) with their values"),
    "no-type": ("- {path: /x}", f" > type: required, one of {TYPES}"),
    "no-type-but-name": ("- {name: file, path: x}", f" > type: required, one of {TYPES}"),
    "type": ("- {type: slak, url: x}", f" > type: expected one of {TYPES}, got 'slak', did you mean slack?"),
    "type-case": ("- {type: File}", f" > type: expected one of {TYPES}, got 'File', did you mean file?"),
    "type-list": ("- {type: [file]}", f" > type: expected one of {TYPES}"),
    "type-empty": ("- {type: }", f" > type: expected one of {TYPES}, got ''"),
    "key-near": ("- {type: file, path: /x, evnts: []}", " > evnts: unknown key, did you mean 'events'?"),
    "key-far": ("- {type: file, path: /x, zzz: 1}", f" > zzz: unknown key, expected one of {KEYS}, path"),
    "key-of-another-type": (
        f"- {{type: slack, url: '{URL}', address: x}}",
        f" > address: unknown key, expected one of {KEYS}, url",
    ),
    "key-of-http": (
        f"- {{type: http, name: n, url: '{URL}', zzz: x}}",
        f" > zzz: unknown key, expected one of {KEYS}, {TLS}, url",
    ),
    "no-url": ("- {type: slack}", f" > url: required, where alerts go, such as {URL}"),
    "no-path": ("- {type: file}", " > path: required, the absolute path of a file"),
    "name": (
        "- {type: syslog, name: a b}",
        " > name: expected a name of letters, digits and _.-, such as second, got 'a b'",
    ),
    "name-long": (
        f"- {{type: syslog, name: {'n' * 65}}}",
        f" > name: expected a name of letters, digits and _.-, such as second, got '{'n' * SHOWN}...'",
    ),
    "name-of-the-url": ("- {type: syslog, name: http}", f" > name: {NAMESAKE}, got 'http'"),
    "name-by-default": (f"- {{type: http, url: '{URL}'}}", f" > name: {NAMESAKE}, got 'http'"),
    "events-word": (
        "- {type: syslog, events: exceeded}",
        " > events: expected a list such as [exceeded, ongoing]",
    ),
    "events-empty": (
        "- {type: syslog, events: []}",
        " > events: expected a list with something in it and nothing twice",
    ),
    "events-twice": (
        "- {type: syslog, events: [ongoing, ongoing]}",
        " > events: expected a list with something in it and nothing twice",
    ),
    "events-unknown": (
        "- {type: syslog, events: [exceeded, over]}",
        f" > events > item 2: expected one of {TOLD}, got 'over'",
    ),
    "events-not-made": (
        "- {type: syslog, events: [exceeded, cleared]}",
        f" > events: {NOT_MADE}",
    ),
    "heartbeat-not-made": (
        "- {type: syslog, events: [heartbeat]}",
        " > events: expected events that are sent at all, heartbeat is not: see the key 'heartbeat'",
    ),
    "types-case": (
        "- {type: syslog, types: [send]}",
        " > types > item 1: expected one of SEND, RECV, ACCEPT, RATE, got 'send', did you mean SEND?",
    ),
    "types-word": ("- {type: syslog, types: SEND}", " > types: expected a list such as [SEND, RECV]"),
    "rate": (
        "- {type: syslog, rate: 1000001}",
        " > rate: expected a number from 0 to 1000000, got '1000001'",
    ),
    "burst": ("- {type: syslog, burst: 0}", " > burst: expected a whole number from 1 to 1000000, got '0'"),
    "timeout": ("- {type: syslog, timeout: 0s}", " > timeout: expected a duration from 1ms to 10m, got '0s'"),
    "label-name": (
        "- {type: alertmanager, url: 'http://h', labels: {a-b: c}}",
        " > labels > a-b: expected names of labels, of letters, digits and _, such as team, got 'a-b'",
    ),
    "label-of-ours": (
        "- {type: alertmanager, url: 'http://h', labels: {severity: c}}",
        f" > labels > severity: expected names of labels other than {', '.join(LABELS)}, got 'severity'",
    ),
    "label-value": (
        "- {type: alertmanager, url: 'http://h', labels: {team: ''}}",
        " > labels > team: expected the value of a label, one line of at most 256 characters, got ''",
    ),
    "path-relative": ("- {type: file, path: a.jsonl}", f" > path: {ABSOLUTE}, got 'a.jsonl'"),
    "path-folder": ("- {type: file, path: /var/log/}", f" > path: {ABSOLUTE}, got '/var/log/'"),
    "path-list": ("- {type: file, path: [/x]}", f" > path: {ABSOLUTE}"),
    "syslog-relative": ("- {type: syslog, address: dev/log}", f" > address: {SYSLOG}, got 'dev/log'"),
    "syslog-host": ("- {type: syslog, address: 'host:514'}", f" > address: {SYSLOG}, got 'host:514'"),
    "syslog-transport": (
        "- {type: syslog, address: tls://h:6514}",
        f" > address: {SYSLOG}, got 'tls://h:6514'",
    ),
    "syslog-no-port": ("- {type: syslog, address: udp://h}", f" > address: {SYSLOG}, got 'udp://h'"),
    "syslog-no-host": ("- {type: syslog, address: 'udp://:514'}", f" > address: {SYSLOG}, got 'udp://:514'"),
    "syslog-bare-ipv6": (
        "- {type: syslog, address: 'udp://::1:514'}",
        f" > address: {SYSLOG}, got 'udp://***'",
    ),
    "syslog-path": ("- {type: syslog, address: udp://h:514/x}", f" > address: {SYSLOG}, got 'udp://h:514/x'"),
    "syslog-user": (
        "- {type: syslog, address: 'tcp://u:s3cret@h:601'}",
        f" > address: {SYSLOG}, got 'tcp://***'",
    ),
    "syslog-port": (
        "- {type: syslog, address: 'udp://h:0'}",
        " > address: expected a port from 1 to 65535, got 'udp://h:0'",
    ),
    "facility": (
        "- {type: syslog, facility: local8}",
        f" > facility: expected one of {', '.join(FACILITIES)}, got 'local8', did you mean local7?",
    ),
    "alertmanager-query": (
        "- {type: alertmanager, url: 'http://h/?s3cret'}",
        " > url: expected a url without a query (?...), got 'http://***'",
    ),
    "webhook-url": ("- {type: webhook}", f" > url: required, where alerts go, such as {URL}"),
    "webhook-login": (
        "- {type: webhook, url: 'http://u:p@h/', token: t}",
        " > url: expected no user in the url beside a token or a header Authorization",
    ),
    "webhook-body": (
        "- {type: webhook, url: 'http://h/', body: '{summary}'}",
        " > body: expected names with their values, such as {text: '{summary}'}",
    ),
    "webhook-field": (
        "- {type: webhook, url: 'http://h/', body: {a: [x, {b: 'it has {sise} s3cret'}]}}",
        " > body > a > item 2 > b: unknown field 'sise', did you mean 'size'?",
    ),
    "webhook-field-far": (
        "- {type: webhook, url: 'http://h/', body: {a: '{zzzzzz}'}}",
        " > body > a: unknown field 'zzzzzz', docs/told.md names all",
    ),
    "webhook-brace": (
        "- {type: webhook, url: 'http://h/', body: {a: 's3cret { x'}}",
        " > body > a: expected {field}, or {{ and }} for braces themselves",
    ),
    "webhook-no-field": (
        "- {type: webhook, url: 'http://h/', body: {a: '{s3cret.x}'}}",
        " > body > a: expected the name of a field between { and }, or {{ and }} for braces themselves",
    ),
    "webhook-many": (
        f"- {{type: webhook, url: 'http://h/', body: {{a: '{'{size}' * 201}'}}}}",
        " > body: expected at most 200 placeholders",
    ),
    "splunk-no-token": (
        "- {type: splunk, url: 'https://h:8088'}",
        " > token: required, the token of an HTTP event collector",
    ),
    "splunk-token-header": (
        "- {type: splunk, url: 'https://h:8088', token: s3cret, headers: {Authorization: s3cret}}",
        " > token: expected either a token or a header Authorization",
    ),
    "splunk-login": (
        "- {type: splunk, url: 'https://u:p@h:8088', token: t}",
        " > url: expected no user in the url beside a token or a header Authorization",
    ),
    "splunk-path": (
        "- {type: splunk, url: 'https://h:8088/services/collector', token: t}",
        (
            " > url: expected the url before /services/collector, such as https://splunk.example:8088, "
            "got 'https://h:8088/services/collector'"
        ),
    ),
    "splunk-index": (
        "- {type: splunk, url: 'https://h:8088', token: t, index: Net}",
        " > index: expected the name of an index, of small letters, digits and _-, such as network, got 'Net'",
    ),
    "splunk-ack": (
        "- {type: splunk, url: 'https://h:8088', token: t, ack: 0s}",
        " > ack: expected a duration from 1s to 1h, got '0s'",
    ),
    "bigquery-no-table": (
        "- {type: bigquery, project: p1, dataset: d}",
        " > table: required, the name of a table, of letters, digits and _-, such as alerts",
    ),
    "bigquery-project": (
        "- {type: bigquery, project: p/q, dataset: d, table: t}",
        " > project: expected the id of a project, such as network-monitoring, got 'p/q'",
    ),
    "bigquery-credentials": (
        "- {type: bigquery, project: p1, dataset: d, table: t, credentials: /dev/null}",
        (" > credentials: expected a file with the key of a service account, JSON, got '/dev/null'"),
    ),
    "bigquery-no-credentials": (
        "- {type: bigquery, project: p1, dataset: d, table: t, credentials: /no/such}",
        (
            " > credentials: expected a file with the key of a service account, JSON, "
            "it cannot be read: No such file or directory, got '/no/such'"
        ),
    ),
    "bigquery-endpoint-login": (
        "- {type: bigquery, project: p1, dataset: d, table: t, endpoint: 'https://user:s3cret@h'}",
        (
            " > endpoint: expected scheme, host and port alone, such as https://bigquery.googleapis.com, "
            "got 'https://***'"
        ),
    ),
    "bigquery-endpoint-path": (
        "- {type: bigquery, project: p1, dataset: d, table: t, endpoint: 'https://h/bigquery/v2'}",
        (
            " > endpoint: expected scheme, host and port alone, such as https://bigquery.googleapis.com, "
            "got 'https://h/bigquery/v2'"
        ),
    ),
    "syslog-format": (
        "- {type: syslog, format: rfc822}",
        " > format: expected one of rfc5424, rfc3164",
    ),
    "webhook-incidents": (
        "- {type: webhook, url: 'http://h/', incidents: 1.5}",
        " > incidents: expected true or false, got '1.5'",
    ),
    "kafka-no-topic": (
        "- {type: kafka, brokers: ['h:9092']}",
        " > topic: required, the name of a topic, of letters, digits and ._-, such as sockbpf",
    ),
    "kafka-brokers": (
        "- {type: kafka, brokers: 'h:9092', topic: t}",
        " > brokers: expected a list of brokers to begin with, such as [kafka1:9092, kafka2:9092], got 'h:9092'",
    ),
    "kafka-no-brokers": (
        "- {type: kafka, brokers: [], topic: t}",
        " > brokers: expected a list of brokers to begin with, such as [kafka1:9092, kafka2:9092]",
    ),
    "kafka-broker": ("- {type: kafka, brokers: ['h'], topic: t}", f" > brokers: {HOST_PORT}"),
    "kafka-topic": (
        "- {type: kafka, brokers: ['h:9092'], topic: ..}",
        " > topic: expected the name of a topic, of letters, digits and ._-, such as sockbpf, got '..'",
    ),
    "kafka-no-password": (
        "- {type: kafka, brokers: ['h:9092'], topic: t, user: u}",
        " > password: expected both a user and a password, or neither",
    ),
    "kafka-no-user": (
        "- {type: kafka, brokers: ['h:9092'], topic: t, password: s3cret}",
        " > password: expected both a user and a password, or neither",
    ),
    "store-url-of-alerts": (
        "- {type: store, url: 'http://h:1/alert'}",
        " > url: expected the url that stands before /alerts, such as https://store.example:8080, got 'http://h:1/alert'",
    ),
    "otlp-no-url": (
        "- {type: otlp}",
        " > url: required, where OTLP is received over HTTP, such as http://127.0.0.1:4318",
    ),
    "otlp-url-of-logs": (
        "- {type: otlp, url: 'http://h/v1/logs/'}",
        " > url: expected the url that stands before /v1/logs, such as http://127.0.0.1:4318, got 'http://h/v1/logs/'",
    ),
    "otlp-attribute": (
        "- {type: otlp, url: 'http://h', resource: {'a b': x}}",
        " > resource > 'a b': expected names of attributes such as deployment.environment.name, got 'a b'",
    ),
    "otlp-attribute-value": (
        "- {type: otlp, url: 'http://h', resource: {a: \"x\\ny\"}}",
        " > resource > a: expected the value of an attribute, one line of at most 256 characters, got 'x\\ny'",
    ),
    "otlp-attributes": (
        f"- {{type: otlp, url: 'http://h', resource: {{{', '.join(f'a{n}: x' for n in range(33))}}}}}",
        " > resource: expected at most 32 attributes",
    ),
    "pagerduty-no-key": (
        "- {type: pagerduty}",
        " > routing_key: required, the integration key of a service of PagerDuty, Events API v2",
    ),
    "pagerduty-key": (
        "- {type: pagerduty, routing_key: s3cret}",
        " > routing_key: expected the integration key of a service, 32 letters and digits",
    ),
    "zabbix-no-address": (
        "- {type: zabbix}",
        " > address: required, where a Zabbix server or proxy listens, such as 127.0.0.1:10051",
    ),
    "zabbix-no-port": (
        "- {type: zabbix, address: zabbix.example}",
        f" > address: {HOST_PORT}, got 'zabbix.example'",
    ),
    "zabbix-login": ("- {type: zabbix, address: 'u:s3cret@h:10051'}", f" > address: {HOST_PORT}, got '***'"),
    "zabbix-list": ("- {type: zabbix, address: [127.0.0.1, 10051]}", f" > address: {HOST_PORT}"),
    "zabbix-host": ("- {type: zabbix, address: 'h:1', host: 'a/b'}", f" > host: {ZABBIX_HOST}, got 'a/b'"),
    "zabbix-host-long": (
        f"- {{type: zabbix, address: 'h:1', host: {'h' * 129}}}",
        f" > host: {ZABBIX_HOST}, got '{'h' * SHOWN}...'",
    ),
    "zabbix-host-space": (
        "- {type: zabbix, address: 'h:1', host: 'a '}",
        f" > host: {ZABBIX_HOST}, got 'a '",
    ),
    "http-url": (
        "- {type: http, name: n, url: 'ftp://u:s3cret@h/?s3cret'}",
        f" > url: {WEB}, got 'ftp://***'",
    ),
    "slack-url": ("- {type: slack, url: hooks.slack.com/s3cret}", f" > url: {WEB}"),
    "two-logins": (
        "- {type: http, name: n, url: 'http://u:s3cret@h/', token: s3cret}",
        " > url: expected no user in the url beside a token or a header Authorization",
    ),
}


@pytest.mark.parametrize(("item", "fault"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_bad_item(file: Path, item: str, fault: str) -> None:
    told = "events: [exceeded, ongoing]"
    content = f"url: {URL}\n{told}\ndestinations:\n  - {{type: file, path: /x, name: good}}\n  {item}\n"
    assert faults(file, content) == [f":5: destinations > item 2{fault}"]


@pytest.mark.parametrize("written", ["", "file", "{type: file, path: /x}"])
def test_destinations_are_a_list(file: Path, written: str) -> None:
    expected = ":2: destinations: expected a list of destinations, each with its type"
    assert faults(file, f"url: {URL}\ndestinations: {written}\n") == [expected]
