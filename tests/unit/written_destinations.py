# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file of settings with destinations, and the words of the faults that are told of it."""

from __future__ import annotations

from pathlib import Path

from sockbpf.errors import ConfigError
from sockbpf.settings.config import load
from sockbpf.settings.destinations import (
    MODELS,
    AnyDestination,
)

URL = "http://127.0.0.1:8080/alert"
KEYS = "type, name, events, types, rate, burst, timeout"
TLS = "ca_file, client_cert, client_key, headers, token"
WEB = f"expected an http or https address with a host, such as {URL}"
FORMS = "expected text, {env: NAME} or {file: PATH}"
TYPES = ", ".join(MODELS)
NAMESAKE = "expected a name that no destination before it has"
SYSLOG = "expected /dev/log, or an address such as udp://192.0.2.1:514 or tcp://192.0.2.1:601"
ABSOLUTE = "expected the absolute path of a file"
NOT_MADE = "expected events that are sent at all, cleared is not: see the key 'events'"
SHOWN = 57


def faults(file: Path, content: str) -> list[str]:
    """Return the faults of a file of this content, without the name of the file; empty when it is good."""
    file.write_text(content)
    try:
        load(file)
    except ConfigError as error:
        told = error.faults
    else:
        return []
    assert all(fault.startswith(f"{file}:") and fault.isprintable() for fault in told)
    return [fault.removeprefix(str(file)) for fault in told]


def destinations(file: Path, content: str) -> tuple[AnyDestination, ...]:
    file.write_text(content)
    return load(file).destinations
