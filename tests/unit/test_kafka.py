# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alerts in a topic of Kafka: what is there is the alert, and all of them are, in order, whatever fails."""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka import KafkaError

from sockbpf.delivery.destinations.kafka import Kafka
from sockbpf.delivery.transport import TransportError, UnusableError
from sockbpf.settings.destinations import KafkaSettings
from tests.live.turns import today
from tests.unit.mock_kafka import Cluster, cluster
from tests.unit.told_alerts import HEARTBEAT, TOLD, told

TOPIC = "sockbpf"
TEXTS = {
    *(
        "event",
        "protocol",
        "local_ip",
        "remote_ip",
        "type",
        "condition",
        "severity",
        "id",
        "host",
        "mode",
        "comm",
    ),
    *("user", "unit", "cause", "confidence", "reason", "run"),
}


def destination(addresses: list[str], **keys: Any) -> Kafka:
    its = {"brokers": addresses, "topic": TOPIC, "timeout": "10s", **keys}
    return Kafka(KafkaSettings.model_validate(its))


def numbers(at: Cluster) -> list[int]:
    """Return the `seq` of what is in the topic."""
    return [json.loads(message.value())["seq"] for message in at.kept(TOPIC)]


def numbered(*seqs: int) -> list[dict[str, str]]:
    return [told(seq=str(seq)) for seq in seqs]


def is_sent(its: Kafka, batch: range) -> bool:
    """Try once; return whether that worked."""
    with suppress(TransportError):
        return its.send_all(numbered(*batch)) == {}
    return False


def tries_until_sent(its: Kafka, batch: range) -> int:
    """Try until it works; return how often that was."""
    for tries in range(1, 20):
        if is_sent(its, batch):
            return tries
    pytest.fail("never sent")


def assert_in_order(found: list[int], number: int) -> None:
    """Fail unless all are there, and each comes first after those before it: some may come again."""
    first = list(dict.fromkeys(found))
    assert first == list(range(number))


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_a_message_is_the_alert(compression: str) -> None:
    with cluster(TOPIC) as at:
        with closing(destination(at.addresses, compression=compression)) as its:
            assert its.send_all([TOLD, HEARTBEAT]) == {}
        alert, heartbeat = at.kept(TOPIC)
    value = json.loads(alert.value())
    assert {name: str(each) for name, each in value.items()} == TOLD
    assert {name for name, each in value.items() if isinstance(each, str)} == TEXTS
    assert b'"timestamp":1795343123.482913,' in alert.value()
    assert {alert.key(), heartbeat.key()} == {b"web1"}
    assert alert.headers() == [("event", b"exceeded"), ("id", b"e1"), ("seq", b"7")]
    assert heartbeat.headers() == [("event", b"heartbeat"), ("seq", b"7")]


def test_order_is_kept_in_large_batches() -> None:
    with cluster(TOPIC) as at:
        with closing(destination(at.addresses)) as its:
            for begin in range(0, 2048, Kafka.most):
                assert its.send_all(numbered(*range(begin, begin + Kafka.most))) == {}
        assert numbers(at) == list(range(2048))


def test_a_broker_that_goes_and_comes_back_within_the_timeout_is_waited_for() -> None:
    with cluster(TOPIC) as at:
        with closing(destination(at.addresses)) as its:
            its.send_all(numbered(0))
            at.down(1)
            back = threading.Timer(0.3, at.up, [1])
            back.start()
            assert its.send_all(numbered(1, 2)) == {}
            back.join()
        assert_in_order(numbers(at), 3)


def test_a_broker_that_stays_away_is_a_failed_try_within_the_timeout() -> None:
    with cluster(TOPIC) as at:
        with closing(destination(at.addresses, timeout="1s")) as its:
            tries_until_sent(its, range(1))
            at.down(1)
            begun_s = time.monotonic()
            with pytest.raises(
                TransportError, match="kafka topic sockbpf: not acknowledged within 1 s"
            ) as failed:
                its.send_all(numbered(1, 2))
            assert time.monotonic() - begun_s < 20
            assert not failed.value.permanent
            at.up(1)
            tries_until_sent(its, range(1, 3))
        assert_in_order(numbers(at), 3)


def test_the_leader_is_killed_and_another_takes_its_place() -> None:
    with cluster(TOPIC, 3) as at:
        with closing(destination(at.addresses)) as its:
            its.send_all(numbered(0, 1))
            at.down(1)
            at.leader(TOPIC, 2)
            assert its.send_all(numbered(2, 3)) == {}
        at.up(1)
        assert_in_order(numbers(at), 4)


UNKNOWN, LEADER, SLOW, FENCED, SEQUENCE, TOO_LARGE = (
    getattr(KafkaError, name)
    for name in (
        "UNKNOWN", "NOT_LEADER_FOR_PARTITION", "REQUEST_TIMED_OUT", "INVALID_PRODUCER_EPOCH",
        "OUT_OF_ORDER_SEQUENCE_NUMBER", "MSG_SIZE_TOO_LARGE",
    )
)  # fmt: skip


def test_nothing_is_lost_and_order_is_kept_whatever_fails() -> None:
    """Brokers answer by errors, die and are slow, otherwise each day; each batch is tried until it has worked."""
    chance = random.Random(today())
    backs: list[threading.Timer] = []
    with cluster(TOPIC, 2) as at:
        with closing(destination(at.addresses, timeout="1s")) as its:
            sent = tries = 0
            while sent < 30:
                batch = range(sent, min(30, sent + chance.choice([1, 3, 10])))
                what = chance.randrange(4)
                if what == 0:
                    errors = [UNKNOWN, LEADER, SLOW, FENCED, SEQUENCE, 0]
                    at.fail(*chance.choices(errors, k=chance.randrange(1, 4)))
                elif what == 1:
                    broker = chance.choice([1, 2])
                    at.down(broker)
                    backs.append(threading.Timer(chance.random() / 2, at.up, [broker]))
                    backs[-1].start()
                elif what == 2:
                    at.slow(1, chance.choice([0, 50]))
                tries += tries_until_sent(its, batch)
                sent = batch.stop
        for back in backs:
            back.join()
        print(f"{tries} tries, day {today()}")
        assert_in_order(numbers(at), 30)


def test_what_a_broker_will_never_take_is_permanent() -> None:
    with cluster(TOPIC) as at:
        with closing(destination(at.addresses)) as its:
            at.fail(TOO_LARGE)
            with pytest.raises(TransportError, match="Message size too large") as failed:
                its.send_all(numbered(0))
            assert failed.value.permanent
            assert its.send_all(numbered(0)) == {}
        assert numbers(at) == [0]


def test_settings_that_the_library_refuses_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    its = KafkaSettings.model_validate({"brokers": ["h:9092"], "topic": "t", "tls": True})
    broken = its.model_copy(update={"ca_file": tmp_path / "ca.pem"})
    with pytest.raises(UnusableError, match=r"ssl\.ca\.location"):
        Kafka(broken)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_a_producer_that_is_given_up_leaves_no_thread() -> None:
    """Else each try that fails would leave some until whichever thread collects garbage, and waits for them."""
    too_large = told(reason="x" * 1_100_000)
    with closing(destination(["127.0.0.1:9"], timeout="1ms")) as its:
        before = len(os.listdir("/proc/self/task"))
        for alert in [TOLD, too_large] * 3:
            with suppress(TransportError):
                its.send_all([alert])
        assert len(os.listdir("/proc/self/task")) < before


def test_certificates_that_are_missing_for_a_moment_cost_no_alert(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    with closing(destination(["127.0.0.1:9"], timeout="1ms", tls=True, ca_file=str(ca))) as its:
        for _ in range(2):
            with pytest.raises(TransportError) as failed:
                its.send_all([TOLD])
            assert not failed.value.permanent
            ca.write_text("")
    assert "ssl.ca.location" in str(failed.value)


def test_where_nobody_listens_it_says_so_without_the_password() -> None:
    keys = {"user": "monitor", "password": "s3cret", "mechanism": "PLAIN"}
    its = KafkaSettings.model_validate({"brokers": ["127.0.0.1:9"], "topic": "t", "timeout": "1s", **keys})
    assert "s3cret" not in repr(its) + str(its)
    with closing(Kafka(its)) as made, pytest.raises(TransportError, match="Connection refused") as failed:
        made.send_all([TOLD])
    assert not failed.value.permanent
    assert "s3cret" not in str(failed.value)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(UnusableError, match=r"pip install 'sockbpf\[kafka\]'"):
        destination(["h:9092"])
