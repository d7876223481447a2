# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A filter that is being typed: each part counts once it is whole, what is wrong is said and nothing ends."""

from __future__ import annotations

import pytest

from sockbpf.judge.ranking import fits_whose
from sockbpf.record.event import Protocol
from sockbpf.record.socket_row import SocketRow, Whose
from sockbpf.settings.typed_filter import typed
from sockbpf.view.top_frame import fits_words
from tests.unit.socket_rows import CLOSE_WAIT, a_row

NGINX = a_row(recv=5, whose=Whose(17, "nginx", "www-data", "/system.slice/nginx.service"))
OTHER = a_row(
    recv=5, local_port=80, state=CLOSE_WAIT, whose=Whose(18, "redis-server", "redis", "/a/redis.service")
)
UDP = a_row(recv=5, protocol=Protocol.UDP, local_port=53, local_ip="2001:db8::1")


def found(text: str) -> list[SocketRow]:
    wish = typed(text)
    return [
        row
        for row in (NGINX, OTHER, UDP)
        if fits_whose(wish.asked, row, row.whose, lambda _: ()) and fits_words(row, wish.words)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [NGINX, OTHER, UDP]),
        ("port:443", [NGINX]),
        ("port:", [NGINX, OTHER, UDP]),
        ("port:80,53", [OTHER, UDP]),
        ("unit:nginx", [NGINX]),
        ("unit:nginx.service process:ngin", [NGINX]),
        ("process:redis* state:CLOSE-WAIT", [OTHER]),
        ("state:close-wait", [OTHER]),
        ("type:recv", [NGINX, OTHER, UDP]),
        ("type:SEND", []),
        ("tcp", [NGINX, OTHER]),
        ("udp port:53", [UDP]),
        ("NGI", [NGINX]),
        ("2001:db8::1", [UDP]),
        ("local-port:443", [NGINX]),
        ("port:443 redis", []),
    ],
)
def test_a_filter_finds_what_it_says(text: str, expected: list[SocketRow]) -> None:
    assert not typed(text).faults
    assert found(text) == expected


@pytest.mark.parametrize(
    "text", ["port:x", "state:OPEN", "colour:red", "ip:999", "process:a/b", "port:70000"]
)
def test_what_is_wrong_is_said_and_the_rest_still_counts(text: str) -> None:
    wish = typed(f"{text} unit:nginx")
    assert len(wish.faults) == 1
    assert found(f"{text} unit:nginx") == [NGINX]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("prot:443", "port"),
        ("unti:nginx", "unit"),
        ("state:closewait", "CLOSE-WAIT"),
        ("STATUS:x", "state"),
        ("type:rcev", "RECV"),
    ],
)
def test_of_what_is_mistyped_it_says_what_was_meant(text: str, meant: str) -> None:
    assert typed(text).faults[0].endswith(f", did you mean {meant}?")


def test_every_beginning_of_a_filter_can_be_typed() -> None:
    whole = "port:8000-8100 unit:nginx* state:CLOSE-WAIT ip:2001:db8::/32 container:0123456789ab user:root netns:blue"
    for length in range(len(whole)):
        typed(whole[:length])
    for text in ("\x1b[31m:x", ":", "::", "a:b:c", "unit:[", "process:" + "x" * 5000, "\udcff:\udcff"):
        assert all(fault.isprintable() for fault in typed(text).faults)
