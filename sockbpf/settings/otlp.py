# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a receiver of OTLP is told beside the alerts, and how: the keys that only the type `otlp` has."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sockbpf.settings.addresses import base_url
from sockbpf.settings.fields import duration, few, none_or_a_second
from sockbpf.settings.http import HttpOptions

MOST_ATTRIBUTES = 32


def endpoint(text: str) -> str:
    """Check a url for one to which /v1/logs is appended."""
    if base_url(text).rstrip("/").endswith(("/v1/logs", "/v1/metrics")):
        raise ValueError("expected the url that stands before /v1/logs, such as http://127.0.0.1:4318")
    return text


def _attribute_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]{0,127}", value):
        raise ValueError("expected names of attributes such as deployment.environment.name")
    return value


def _attribute_value(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():  # noqa: PLR2004
        raise ValueError("expected the value of an attribute, one line of at most 256 characters")
    return value


AttributeName = Annotated[str, BeforeValidator(_attribute_name)]
AttributeValue = Annotated[str, BeforeValidator(_attribute_value)]


class OtlpOptions(HttpOptions):
    """`resource` are attributes of what sends; ours of the same names give way.

    `metrics` is the seconds from one sending of the metrics to the next; 0: they are not sent.
    """

    resource: Annotated[dict[AttributeName, AttributeValue], few(MOST_ATTRIBUTES, "attributes")] = Field(
        default={}
    )
    compression: Literal["gzip", "none"] = "gzip"
    metrics: Annotated[float, duration("0s"), AfterValidator(none_or_a_second)] = 0.0
