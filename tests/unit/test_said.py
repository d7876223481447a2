# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a receiver says of a failure is shown without what it knows of us alone."""

from __future__ import annotations

import pytest

from sockbpf.delivery.destinations.said import Said
from sockbpf.settings.http import HttpOptions
from sockbpf.settings.secret import Secret

PLAIN = "https://r.example/in/v1"


@pytest.mark.parametrize(
    ("url", "options", "text", "shown"),
    [
        (PLAIN, {"token": "t0k.en"}, "Bearer t0k.en has expired", "Bearer *** has expired"),
        (PLAIN, {"headers": {"X-Key": "k3y"}}, "no k3y", "no ***"),
        (PLAIN, {"headers": {"Authorization": "Basic bW9u"}}, "bad Basic bW9u, bW9u", "bad ***, ***"),
        ("https://mon:s3%20c@r.example", {}, "mon, s3 c, bW9uOnMzIGM=", "***, ***, ***"),
        (Secret("https://r.example/T0/s%2Fx/"), {}, "no /T0/s%2Fx/v1/logs: T0/s/x", "no /***/v1/logs: ***"),
        (PLAIN, {}, "no /in/v1: at 10:17", "no /in/v1: at 10:17"),
        (PLAIN, {"token": "t0k", "headers": {"X-Key": "t0k.en"}}, "t0k.en t0k", "*** ***"),
        (PLAIN, {}, " a\nb\x1b ", "a\\nb\\x1b"),
        (PLAIN, {}, "x" * 301, "x" * 299 + "…"),
    ],
)
def test_no_secret_of_ours_is_shown(url: str, options: dict[str, object], text: str, shown: str) -> None:
    assert Said(url, HttpOptions.model_validate(options)).plain(text) == shown
