# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A broker of Kafka behind TLS gets alerts of who trusts it and shows a certificate, of nobody else."""

from __future__ import annotations

import json
import ssl
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from sockbpf.delivery.destinations.kafka import Kafka
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.destinations import KafkaSettings
from tests.live.collectors import broker
from tests.live.daemons import TOLD
from tests.live.ports import free_port
from tests.live.tls_proxy import tls_proxy
from tests.unit.mock_kafka import messages

TOPIC = "alerts"
PARTITIONS = 4
"""So many has a topic that Tansu makes by itself."""


def test_kafka_over_tls(tmp_path: Path, stack: ExitStack) -> None:
    ours, others = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    ours.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    others.cert_pem.write_to_path(tmp_path / "other.pem")
    ours.issue_cert("monitor@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    port = free_port()
    kafka = broker(tmp_path, stack, shown=port)
    kafka.start()
    stack.enter_context(tls_proxy(port, kafka.port, context))

    def send(timeout: str, **keys: Any) -> None:
        its = {"brokers": [f"127.0.0.1:{port}"], "topic": TOPIC, "tls": True, "timeout": timeout, **keys}
        with closing(Kafka(KafkaSettings.model_validate(its))) as made:
            made.send_all([TOLD])

    cert = tmp_path / "cert.pem"
    with pytest.raises(TransportError, match="certificate verify failed"):
        send("2s", ca_file=tmp_path / "other.pem", client_cert=cert)
    with pytest.raises(TransportError, match="not acknowledged within 1 s"):
        send("1s", ca_file=tmp_path / "ca.pem")
    send("20s", ca_file=tmp_path / "ca.pem", client_cert=cert)
    how = {"security.protocol": "SSL", "ssl.ca.location": str(tmp_path / "ca.pem")}
    how |= {"ssl.certificate.location": str(cert), "ssl.key.location": str(cert)}
    (message,) = messages([f"127.0.0.1:{port}"], TOPIC, list(range(PARTITIONS)), how)
    assert json.loads(message.value())["seq"] == int(TOLD["seq"])
