# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The C by itself: each header parses alone, and what is named as a question changes nothing."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from sockbpf.kernel.build.order import order_of
from sockbpf.kernel.build.shortcuts import ALL, Shortcut
from sockbpf.kernel.build.source import SOURCE, type_source
from tests.abi.everything import all_sights

HEADERS = sorted(path.name for path in SOURCE.glob("*.h"))
OLD = "layout.h"
"""For kernels without BTF: test_old_kernels.py parses it."""

STRICT = (
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion",
)

QUESTION = re.compile(
    r"(is|has|none|may|can|goes|was|are|does)_|(sock_has|queue_size|size_of|key_of|user_of|get)_?"
)
DEED = re.compile(r"\.(update|insert|delete|perf_submit)\(|__sync_fetch_and_add")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="BCC makes maps, which needs root")


def parsed(text: str, shortcuts: frozenset[Shortcut]) -> Any:
    """Return what BCC makes of a text."""
    import bcc

    flags = order_of(all_sights(), symbols={}, max_episodes=17, shortcuts=shortcuts).flags
    _, layout = type_source("auto")
    return bcc.BPF(text=text, cflags=[f"-I{SOURCE}", "-g0", *STRICT, *flags, *layout])


@needs_root
@pytest.mark.parametrize("header", [name for name in HEADERS if name != OLD])
@pytest.mark.parametrize("shortcuts", [ALL, frozenset[Shortcut]()], ids=["shortcuts", "plain"])
def test_a_header_parses_alone(header: str, shortcuts: frozenset[Shortcut]) -> None:
    parsed(f'#include "{header}"\n', shortcuts).cleanup()


@needs_root
@pytest.mark.parametrize(
    "text",
    [
        "static int f(const struct sk_buff *skb) { return sock_kind(skb); }",
        "static int f(const struct sock *sk) { return tcp_acked(sk, sk); }",
        "static int f(void) { return no_such_function(); }",
    ],
)  # fmt: skip
def test_a_socket_is_no_packet(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The canary of both: the compiler refuses one for the other, and what no header declares."""
    with pytest.raises(Exception, match="Failed to compile"):
        parsed(f'#include "episode.h"\n{text}\n', ALL)
    assert re.search("incompatible pointer|implicit declaration", capfd.readouterr().err)


def functions() -> dict[str, str]:
    """Return the body of each function of the C, by name; the macros that write count as what they write."""
    text = "\n".join(path.read_text() for path in sorted(SOURCE.glob("*.[ch]")))
    found = re.findall(
        r"^(?:static[\w ]*[\w*] \**(\w+)\([^;{]*\)|[A-Z]+\((\w+)\))\n\{\n(.*?)^\}",
        text,
        re.MULTILINE | re.DOTALL,
    )
    return {name or hook: body.replace("COUNT(", "__sync_fetch_and_add(") for name, hook, body in found}


def test_a_question_changes_nothing() -> None:
    bodies = functions()
    assert {"episode_insert", "is_own", "is_quiet", "follow", "judge", "kp_tcp_ack"} <= set(bodies)
    writers = {name for name, body in bodies.items() if DEED.search(body)}
    assert {"pay", "mark_own", "put_event"} <= writers
    while more := {
        name for name in set(bodies) - writers if set(re.findall(r"(\w+)\(", bodies[name])) & writers
    }:
        writers |= more
    assert {"judge", "end_both", "admit_event", "mark_if_own"} <= writers
    assert not {name for name in writers if QUESTION.match(name)}
