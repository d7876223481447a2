# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where a topic of Kafka is, and how its brokers are reached: TLS, user and password."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from sockbpf.settings.addresses import HostPort, host_port
from sockbpf.settings.fields import flag
from sockbpf.settings.http import TlsOptions
from sockbpf.settings.secret import hidden, secret

MOST_BROKERS = 16
BROKERS = "a list of brokers to begin with, such as [kafka1:9092, kafka2:9092]"
TOPIC = "the name of a topic, of letters, digits and ._-, such as sockbpf"


def _brokers(value: object) -> tuple[HostPort, ...]:
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MOST_BROKERS:
        raise ValueError(f"expected {BROKERS}")
    return tuple(each if isinstance(each, HostPort) else host_port(str(each)) for each in value)


def _topic(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", value):
        raise ValueError(f"expected {TOPIC}")
    return value


def _user(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 256:  # noqa: PLR2004
        raise ValueError("expected the name of a user, one line")
    return value


def _password(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected a password of one line")
    return text


class KafkaOptions(TlsOptions):
    """`brokers` are those that are asked first. The password is secret.

    With `user` the brokers are logged in to by `mechanism` of SASL, with `client_cert` by that certificate.
    """

    brokers: Annotated[tuple[HostPort, ...], PlainValidator(_brokers)] = Field(description=BROKERS)
    topic: Annotated[str, PlainValidator(_topic)] = Field(description=TOPIC)
    tls: Annotated[bool, BeforeValidator(flag)] = Field(default=False, validate_default=True)
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: Annotated[str, PlainValidator(_user)] = ""
    password: Annotated[str, PlainValidator(secret(_password))] = Field(
        default="", validate_default=True, repr=False
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"

    @field_validator("tls")
    @classmethod
    def _with_certificates(cls, tls: bool, info: ValidationInfo) -> bool:
        if not tls and (info.data.get("ca_file") or info.data.get("client_cert")):
            raise ValueError("expected tls: true beside ca_file or client_cert")
        return tls

    @field_validator("password")
    @classmethod
    def _with_user(cls, password: str, info: ValidationInfo) -> str:
        if "user" in info.data and bool(password) != bool(info.data["user"]):
            raise hidden("expected both a user and a password, or neither")
        return password
