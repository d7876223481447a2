# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A topic of Kafka: each alert is a message of JSON, delivered once all replicas in sync have it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.json_lines import line_of
from sockbpf.delivery.destinations.values import cut
from sockbpf.delivery.transport import TransportError, UnusableError
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from confluent_kafka import KafkaError, Message, Producer

    from sockbpf.settings.destinations import KafkaSettings

log = logging.getLogger(__name__)

HEADERS = ("event", "id", "seq")
"""The fields that are headers too; with `host`, the key, they tell a message that came twice."""

PERMANENT = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_RECORD", "RECORD_LIST_TOO_LARGE"})
"""The errors after which the same message can never succeed."""

SAID_CHARACTERS = 300

MESSAGE_BYTES = 1_000_000
"""The most that brokers take in one set of messages unless they are told otherwise."""

SET_BYTES, EACH_BYTES = 900_000, 200
"""The most that we put into one, and what is counted for each beside its value."""

ENDS_S = 1.0
"""How long messages that are given up may take to be returned."""


def _library() -> Any:
    """Return the module of librdkafka. Raise UnusableError where it is not installed."""
    try:
        import confluent_kafka
    except ImportError:
        raise UnusableError(
            "the Python package confluent-kafka is missing. "
            "Remedy: apt install python3-confluent-kafka, or pip install 'sockbpf[kafka]'"
        ) from None
    return confluent_kafka


class _Lines:
    """Takes the library's lines of log, which would go to stderr; what they say of failures comes as errors too."""

    def log(self, _level: int, *what: object) -> None:
        log.debug(*what)


class _Message:
    """An alert as it is sent."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.value = line_of(fields).encode("ascii")
        self.key = _bytes(fields["host"])
        self.headers: list[tuple[str, str | bytes | None]] = [
            (name, _bytes(fields[name])) for name in HEADERS if name in fields
        ]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _sets(messages: Sequence[_Message]) -> Iterator[list[_Message]]:
    """Yield the messages in sets that a broker takes whole: so none comes before an earlier one that failed."""
    made: list[_Message] = []
    size = 0
    for each in messages:
        bytes_ = len(each.value) + EACH_BYTES
        if made and size + bytes_ > SET_BYTES:
            yield made
            made, size = [], 0
        made.append(each)
        size += bytes_
    if made:
        yield made


class Kafka:
    """Sends alerts in batches through an idempotent producer, keyed by host: one host's keep their order.

    After any failure the producer is given up with all that it holds, and the next try begins with a new one: it has
    a new identity, without which a broker that has lost its state would refuse it for ever.
    """

    most = 512
    wait_s = 0.1

    def __init__(self, settings: KafkaSettings) -> None:
        """Make a producer, which connects when there is something to send. Raise UnusableError."""
        self._library = _library()
        self._settings = settings
        self._said = ""
        """What the library said last of a connection that failed."""
        try:
            self._producer: Producer | None = self._made()
        except self._library.KafkaException as error:
            raise UnusableError(_text(error.args[0])) from None

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Send alerts and wait until all are acknowledged. Raise TransportError: then all are to be sent again."""
        end_s = time.monotonic() + self._settings.timeout
        for messages in _sets([_Message(fields) for fields in alerts]):
            self._send(messages, end_s)
        self._said = ""
        return {}

    def _send(self, messages: Sequence[_Message], end_s: float) -> None:
        """Send messages as one set, of which the broker takes all or nothing, until `end_s`, monotonic."""
        failed: dict[int, KafkaError | None] = dict.fromkeys(range(len(messages)))
        try:
            # In no variable of this function, which the error that is raised keeps alive: a producer that is given up
            # ends here, and not whenever and in whatever thread the garbage is collected.
            self._producer = self._producer or self._made()
            for place, each in enumerate(messages):
                self._producer.produce(
                    self._settings.topic,
                    value=each.value,
                    key=each.key,
                    headers=each.headers,
                    on_delivery=partial(_reported, failed, place),
                )
            self._producer.flush(max(0.0, end_s - time.monotonic()))
        except (self._library.KafkaException, BufferError, SystemError) as error:
            self._give_up()
            # A fatal error is raised out of a callback: if another callback follows, as the cause of a SystemError.
            cause = error.__cause__ or error
            raise self._failed(cause.args[0] if cause.args else str(cause)) from None
        if failed:
            first = next((error for error in failed.values() if error), None)
            self._give_up()
            raise self._failed(first)

    def close(self) -> None:
        self._give_up()

    def _made(self) -> Producer:
        its = self._settings
        protocol = {(False, False): "PLAINTEXT", (False, True): "SASL_PLAINTEXT", (True, False): "SSL"}
        made: dict[str, Any] = {
            "bootstrap.servers": ",".join(
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in its.brokers
            ),
            "client.id": "sockbpf",
            "security.protocol": protocol.get((its.tls, bool(its.user)), "SASL_SSL"),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": its.compression,
            "partitioner": "murmur2_random",  # as that of Java
            # One batch is in there at a time; what is owed is in our own queue, on the disk.
            "queue.buffering.max.messages": 2 * self.most,
            "queue.buffering.max.kbytes": 32 * 1024,
            # The deadline is ours, for all messages at once: of messages that time out by themselves a later one
            # could be sent without an earlier one.
            "message.timeout.ms": 0,
            "socket.timeout.ms": min(max(int(its.timeout * 1000), 10), 300_000),
            "reconnect.backoff.max.ms": 1000,
            # Longer than it takes to hand over a set: a flush sends it at once, and whole.
            "linger.ms": 1000,
            "batch.num.messages": self.most,
            "message.max.bytes": MESSAGE_BYTES,
            "batch.size": MESSAGE_BYTES,
            "error_cb": self._heard,
            "logger": _Lines(),
        }
        if its.user:
            made |= {
                "sasl.mechanism": its.mechanism,
                "sasl.username": its.user,
                "sasl.password": str(its.password),
            }
        if its.tls:
            made["ssl.endpoint.identification.algorithm"] = (
                "https"  # librdkafka 1 asks for no name unless it is told to
            )
        if its.ca_file:
            made["ssl.ca.location"] = str(its.ca_file)
        if its.client_cert:
            made["ssl.certificate.location"] = str(its.client_cert)
            made["ssl.key.location"] = str(its.client_key or its.client_cert)
        producer: Producer = self._library.Producer(made)
        return producer

    def _heard(self, error: KafkaError) -> None:
        if error.name() != "_ALL_BROKERS_DOWN" or not self._said:  # why, was said before
            self._said = _text(error)

    def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer:
            producer.purge()
            # A fatal error that is told only now says nothing new of a producer that is given up.
            with suppress(self._library.KafkaException, SystemError):
                producer.flush(ENDS_S)

    def _failed(self, error: KafkaError | str | None) -> TransportError:
        """Return what is to be raised; no error: the time was up."""
        if error is None:
            because = f", {self._said}" if self._said else ""
            reason = f"not acknowledged within {self._settings.timeout:g} s{because}"
        else:
            reason = _text(error)
        permanent = not isinstance(error, (str, type(None))) and error.name() in PERMANENT
        return TransportError(f"kafka topic {self._settings.topic}: {reason}", permanent=permanent)


def _reported(failed: dict[int, Any], place: int, error: KafkaError | None, _: Message) -> None:
    if error is None:
        del failed[place]
    else:
        failed[place] = error


def _text(error: Any) -> str:
    said = error.str() if hasattr(error, "str") else str(error)
    return cut(printable(said), SAID_CHARACTERS)
