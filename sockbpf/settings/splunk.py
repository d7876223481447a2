# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How Splunk's HTTP event collector is told alerts: the keys that only the type `splunk` has."""

import re
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from sockbpf.settings.addresses import base_url
from sockbpf.settings.fields import duration
from sockbpf.settings.http import HttpOptions, http_token
from sockbpf.settings.secret import secret


def collector(text: str) -> str:
    """Check a url for one to which /services/collector is appended."""
    if "/services/collector" in base_url(text):
        raise ValueError("expected the url before /services/collector, such as https://splunk.example:8088")
    return text


def _index(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9_-]{0,255}", value):
        raise ValueError("expected the name of an index, of small letters, digits and _-, such as network")
    return value


def _label(value: object) -> str:
    if not isinstance(value, str) or len(value) > 255 or not value.isprintable():  # noqa: PLR2004
        raise ValueError("expected one line of at most 255 characters")
    return value


class SplunkOptions(HttpOptions):
    """`token` is that of the collector, sent as `Authorization: Splunk`; what else is empty is as it has it.

    `ack` is how many seconds the indexers may take to acknowledge, where the token asks for that.
    """

    token: Annotated[str, PlainValidator(secret(http_token))] = Field(
        repr=False, description="the token of an HTTP event collector"
    )
    index: Annotated[str, PlainValidator(_index)] = ""
    source: Annotated[str, PlainValidator(_label)] = "sockbpf"
    sourcetype: Annotated[str, PlainValidator(_label)] = "_json"
    compression: Literal["gzip", "none"] = "gzip"
    ack: Annotated[float, duration("1s", "1h")] = 300.0
