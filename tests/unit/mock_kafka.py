# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""librdkafka's own mock cluster: brokers on loopback that speak Kafka's protocol, and fail when they are told to.

Python's binding makes one, but does not hand on what has it fail: that is called here in the same library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition

PRODUCE = 0
"""The number of the request Produce in the protocol."""

DEADLINE_S = 20.0

PRODUCER = 0
"""What rd_kafka_new makes."""


def _library() -> ctypes.CDLL:
    (path,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
    made = ctypes.CDLL(str(path))
    for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new", "rd_kafka_conf_new"):
        getattr(made, name).restype = ctypes.c_void_p
    made.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return made


@dataclass
class Cluster:
    """Brokers, numbered from 1."""

    library: ctypes.CDLL
    handle: ctypes.c_void_p
    addresses: list[str]

    def down(self, broker: int) -> None:
        """Have a broker close its connections and take no other."""
        assert self.library.rd_kafka_mock_broker_set_down(self.handle, broker) == 0

    def up(self, broker: int) -> None:
        assert self.library.rd_kafka_mock_broker_set_up(self.handle, broker) == 0

    def leader(self, topic: str, broker: int) -> None:
        """Make a broker the leader of the only partition."""
        assert self.library.rd_kafka_mock_partition_set_leader(self.handle, topic.encode(), 0, broker) == 0

    def fail(self, *errors: int) -> None:
        """Have the next requests Produce answered by these errors, 0 by none."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self.library.rd_kafka_mock_push_request_errors_array(
            self.handle, ctypes.c_int16(PRODUCE), ctypes.c_size_t(len(errors)), codes
        )

    def slow(self, broker: int, ms: int) -> None:
        """Have a broker answer so many milliseconds late."""
        assert self.library.rd_kafka_mock_broker_set_rtt(self.handle, broker, ms) == 0

    def kept(self, topic: str) -> list[Any]:
        """Return the messages of the only partition, in its order."""
        return messages(self.addresses, topic, [0])


def messages(
    addresses: list[str], topic: str, partitions: list[int], how: Mapping[str, str] | None = None
) -> list[Any]:
    """Return what is in these partitions now, each in its order; `how` is how the library is to connect."""
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(addresses),
            "group.id": "tests",
            "log_level": 0,
            "isolation.level": "read_uncommitted",
            **(how or {}),
        }
    )
    found: list[Any] = []
    try:
        ends = {
            each: consumer.get_watermark_offsets(TopicPartition(topic, each), DEADLINE_S)[1]
            for each in partitions
        }
        consumer.assign([TopicPartition(topic, each, 0) for each in partitions])
        while len(found) < sum(ends.values()):
            message = consumer.poll(DEADLINE_S)
            assert message, f"{len(found)} of {ends}"
            assert not message.error(), message.error()
            found.append(message)
    finally:
        consumer.close()
    return found


@contextmanager
def cluster(topic: str, brokers: int = 1) -> Iterator[Cluster]:
    """Run brokers with a topic of one partition, of which each has a replica; the first is its leader."""
    library = _library()
    said = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"log_level", b"0", said, ctypes.c_size_t(512))
    client = ctypes.c_void_p(library.rd_kafka_new(PRODUCER, conf, said, ctypes.c_size_t(512)))
    assert client, said.value
    handle = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, brokers))
    assert handle
    try:
        addresses = library.rd_kafka_mock_cluster_bootstraps(handle).decode().split(",")
        assert library.rd_kafka_mock_topic_create(handle, topic.encode(), 1, brokers) == 0
        made = Cluster(library, handle, addresses)
        made.leader(topic, 1)
        yield made
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(client)
