# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Samples of services as a monitor sends them to a store."""

from __future__ import annotations

import gzip
import json
from typing import Any

import requests

from tests.store.serving import Store


def line(at: list[int], size: list[int], **changed: Any) -> dict[str, Any]:
    zeros = [0] * len(at)
    made = {
        "host": "web1",
        "service": "nginx.service",
        "protocol": "tcp",
        "type": "SEND",
        "at": at,
        "size": size,
    }
    return (
        made | {"fill": [min(each // 100, 100) for each in size], "sockets": zeros, "drops": zeros} | changed
    )


def send(store: Store, *lines: dict[str, Any], **headers: str) -> requests.Response:
    body = "\n".join(map(json.dumps, lines)).encode()
    return requests.post(
        f"{store.url}/history",
        data=gzip.compress(body),
        headers={**store.headers, "Content-Encoding": "gzip", **headers},
        timeout=30,
    )
