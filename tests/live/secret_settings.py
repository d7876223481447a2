# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Settings with every kind of secret, whole, faulty and corrupted; and finding a secret in a text."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

PASSWORD, QUERY, HEADER, TOKEN_FILE, TOKEN_ENV, SLACK, PATH_ENV, BASE, ROUTING, BODY = SECRETS = (
    "pa%40ss0KxWvq7Zt3mB",
    "qu3ryYhG5rLkT9wXnS",
    "h3aderUj8PzQe2DcVf",
    "f1letokenRm6NsBy4HgA",
    "3nvtokenJt7KpXw1LzC",
    "sl4ckM9vBqTe5YnRdW",
    "p4thinenvGf3HjKs8QxZ",
    "b4sepassDw6VcNm2RtP",
    "r0utingK7mWqZt4YxB9nHs2VcJg5LpDf",
    "b0dyTextFj3GsXq8NwKzE",
)
PIECE = 8
"""Characters of a secret that are not to be found anywhere."""

SEED, CORRUPTIONS = 4127, 1500


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{unquote(password)}".encode()).decode()


FORMS = (*SECRETS, unquote(PASSWORD), basic("watch", PASSWORD), basic("alert", BASE))
PIECES = frozenset(form[at : at + PIECE] for form in FORMS for at in range(len(form) - PIECE + 1))


def leaks(said: str | bytes) -> list[str]:
    """Return the pieces of secrets in it."""
    text = said if isinstance(said, str) else said.decode("latin-1")
    return sorted(piece for piece in PIECES if piece in text)


def faulty(settings: dict[str, Any]) -> list[object]:
    """Return settings of which each has its secrets where something is wrong."""
    url = settings["url"]
    login = f"watch:{PASSWORD}"
    destinations = [
        url,
        [url],
        {"type": "http", "name": "a", "url": [url]},
        {"type": "http", "name": "b", "url": {"env": TOKEN_ENV}},
        {"type": "http", "name": "c", "url": {"file": TOKEN_FILE}},
        {"type": "http", "name": "d", "url": {"text": url}},
        {"type": "http", "name": "e", "url": url, "token": f"{TOKEN_FILE} {TOKEN_ENV}"},
        {"type": "http", "name": "f", "url": url, "token": TOKEN_FILE},
        {"type": "http", "name": "g", "url": url, "headers": {"X-Key": f"{HEADER}é"}},
        {"type": "http", "name": "h", "url": url, "headers": {f"X Key {HEADER}": "1"}},
        {"type": "http", "name": "i", "url": url, "headers": f"X-Key {HEADER}"},
        {"type": "http", "name": "j", "url": f"http://{login}@host:port/?key={QUERY}"},
        {"type": "http", "name": "k", "url": f"{login}@host/?key={QUERY}"},
        {"type": "http", "name": "l", "url": f"http://host/a b?key={QUERY}", "tokne": TOKEN_ENV},
        {"type": "pagerduty", "name": "o", "routing_key": f"{ROUTING} "},
        {"type": "pagerduty", "name": "p", "routing_key": [ROUTING]},
        {"type": "pagerduty", "name": "q", "routing_key": {"env": ROUTING}},
        {"type": "webhook", "name": "r", "url": url, "body": BODY},
        {"type": "webhook", "name": "s", "url": url, "body": {"a": {"b": [f"{BODY} {{", f"{{{BODY}.}}"]}}},
        {"type": "webhook", "name": "t", "url": url, "body": {"a": f"{BODY} {{sise}}"}, "headers": BODY},
        {"type": "splunk", "name": "u", "url": "http://h:8088", "token": f"{TOKEN_ENV} {TOKEN_FILE}"},
        {"type": "slack", "name": "m", "url": f"/{SLACK}"},
        {"type": "slack", "name": "n", "url": {"file": f"/nowhere/{SLACK}"}},
        {"type": "alertmanager", "name": "o", "url": f"http://alert:{BASE}@host?{QUERY}"},
    ]
    return [
        settings | {"destinations": destinations},
        settings | {"url": f"ftp://{login}@host/?key={QUERY}", "http": {"token": [TOKEN_FILE]}},
        settings | {"url": {"env": f"not {TOKEN_ENV}"}, "http": HEADER, "destinations": {"url": url}},
        settings | {"url": f"http://{login}@host#{QUERY}", "http": {"token": {"file": f"/{TOKEN_FILE}"}}},
        settings | {"http": {"token": TOKEN_FILE, "headers": {"Authorization": HEADER}, "tokne": TOKEN_ENV}},
    ]


def corrupted(text: str) -> Iterator[bytes]:
    """Yield the file as an editor, a disk or a cut connection may leave it."""
    chance = random.Random(SEED)
    raw = text.encode()
    for _ in range(CORRUPTIONS):
        at = chance.randrange(len(raw))
        odd = bytes([chance.choice(b"{}[]\"'#&*!%@|>-?,\\\t\n \x00\x07\xff")])
        end = chance.choice([at, at + 1, at + chance.randrange(40), len(raw)])
        yield raw[:at] + odd * chance.randrange(2) + raw[end:]
