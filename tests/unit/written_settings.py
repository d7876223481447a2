# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file of settings, the faults that are told of it, and the words of those faults."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel

from sockbpf.errors import ConfigError
from sockbpf.settings import yaml_source
from sockbpf.settings.config import load

URL = "http://127.0.0.1:8080/alert"
WEB = f"expected an http or https address with a host, such as {URL}"
PORT = "expected a port from 1 to 65535"
KEYS = (
    "url, http, thresholds, listeners, stalled, clear_ratio, repeat, events, hold, flapping, fold, rates, "
    "owner, history, heartbeat, labels, metrics, status, journal, delivery, destinations, "
    "rules, sweep, kernel, store, log"
)


def faults(file: Path, content: str | bytes) -> list[str]:
    """Return the faults of a file of this content, without the name of the file; empty when it is good."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        load(file)
    except ConfigError as error:
        told = error
    else:
        return []
    assert str(told) == "\n".join(told.faults)
    assert told.exit_code == 2
    assert all(fault.startswith(f"{file}:") and fault.isprintable() for fault in told.faults)
    return [fault.removeprefix(str(file)) for fault in told.faults]


def keys_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the keys that a section has, each with those above it."""
    keys: set[tuple[str, ...]] = set()
    for name, field in model.model_fields.items():
        keys.add((*above, name))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= keys_of(field.annotation, (*above, name))
        elif get_origin(field.annotation) is dict:  # a section for each name
            for key in field.default:
                keys |= {(*above, name, key)} | keys_of(get_args(field.annotation)[1], (*above, name, key))
    return keys


def keys_written(path: Path) -> set[tuple[str, ...]]:
    """Return the keys that a file of settings has, each with those above it."""
    lines = yaml_source.read(path).lines
    return {tuple(map(str, where)) for where in lines if where and isinstance(where[-1], str)}
