# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which table of Google BigQuery alerts go to: the keys that only the type `bigquery` has."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from sockbpf.settings.addresses import base_url
from sockbpf.settings.fields import Section, absolute_path

PROJECT = "the id of a project, such as network-monitoring"
DATASET = "the name of a dataset, of letters, digits and _, such as sockbpf"
TABLE = "the name of a table, of letters, digits and _-, such as alerts"
CREDENTIALS = "a file with the key of a service account, JSON"
CREDENTIALS_BYTES = 64 * 1024
ENDPOINT = "scheme, host and port alone, such as https://bigquery.googleapis.com"


def _name(pattern: str, what: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"expected {what}")
        return value

    return check


def _credentials(value: object) -> Path | None:
    if value in ("", None):
        return None
    path = absolute_path(value)
    try:
        with path.open("rb") as file:
            held = json.loads(file.read(CREDENTIALS_BYTES))
    except OSError as error:
        raise ValueError(f"expected {CREDENTIALS}, it cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or held.get("type") != "service_account":
        raise ValueError(f"expected {CREDENTIALS}")
    return path


def _endpoint(value: object) -> str:
    """Return the address to which Google's client appends its paths, and which it shows in its errors."""
    if value in ("", None):
        return ""
    url = base_url(str(value))
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.path.strip("/"):
        raise ValueError(f"expected {ENDPOINT}")
    return url.rstrip("/")


class BigQueryOptions(Section):
    """`credentials` is a key; without it they are found as Google's libraries do, by the environment first.

    `endpoint` takes the place of Google's own. By http no credentials are sent: that is for an emulator.
    """

    project: Annotated[str, PlainValidator(_name(r"[a-z][a-z0-9.:-]{0,126}[a-z0-9]", PROJECT))] = Field(
        description=PROJECT
    )
    dataset: Annotated[str, PlainValidator(_name(r"[A-Za-z0-9_]{1,1024}", DATASET))] = Field(
        description=DATASET
    )
    table: Annotated[str, PlainValidator(_name(r"[A-Za-z0-9_-]{1,1024}", TABLE))] = Field(description=TABLE)
    credentials: Annotated[Path | None, PlainValidator(_credentials)] = None
    endpoint: Annotated[str, PlainValidator(_endpoint)] = ""

    @field_validator("endpoint")
    @classmethod
    def _no_credentials_by_http(cls, endpoint: str, info: ValidationInfo) -> str:
        if endpoint.startswith("http:") and info.data.get("credentials"):
            raise ValueError("expected https beside credentials")
        return endpoint
