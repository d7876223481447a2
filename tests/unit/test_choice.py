# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Of each thing the first candidate is taken whose hooks the kernel has and has not refused."""

from __future__ import annotations

import pytest

from sockbpf.kernel.build.choice import HOOKS, Sight, choose, lacking, on_demand
from sockbpf.kernel.build.hooks import KPROBES, SEEN, TRACEPOINTS, Hook, HookKind

BOTH = TRACEPOINTS | KPROBES
FUNCTIONS = {hook.target: 0xFFFFFFFF81000000 for hook in HOOKS if hook.kind in KPROBES}
TRACED = {f"__tracepoint_{hook.target}": 0 for hook in HOOKS if hook.kind in TRACEPOINTS}


def taken(sights: tuple[Sight, ...]) -> dict[str, str]:
    return {sight.thing: sight.hooks for sight in sights}


def on(symbols: dict[str, int], kinds: frozenset[HookKind] = BOTH) -> dict[str, str]:
    return taken(choose(kinds, symbols, lacking(symbols)))


def test_all_there_is_is_the_first_of_each_row() -> None:
    first = {thing: " + ".join(map(str, row[0].hooks)) for thing, row in SEEN.items()}
    assert on(FUNCTIONS | TRACED) == first


def test_an_old_kernel_is_seen_by_functions_alone() -> None:
    old = {name: 1 for name in FUNCTIONS if name != "skb_consume_udp"} | {"__tracepoint_consume_skb": 0}
    seen = on(old)
    assert seen["UDP receive shrinks"] == "kprobe sock_rfree"
    assert not any("tracepoint" in hooks for hooks in seen.values())


def test_a_renamed_function_has_another_in_its_place() -> None:
    renamed = {"tcp_ack.isra.0" if name == "tcp_ack" else name: 1 for name in FUNCTIONS}
    sights = choose(KPROBES, renamed, lacking(renamed))
    shrinks = next(sight for sight in sights if sight.thing == "TCP send shrinks")
    assert str(shrinks) == "TCP send shrinks, by kprobe tcp_rate_gen"
    assert shrinks.refused == ("kprobe tcp_ack: this kernel has no such function",)


def test_a_kernel_without_ipv6() -> None:
    symbols = {name: 1 for name in FUNCTIONS if name != "udpv6_sendmsg"}
    assert on(symbols, KPROBES)["UDP send grows"] == "kprobe udp_sendmsg + kretprobe udp_sendmsg"


@pytest.mark.parametrize("symbols", [{}, FUNCTIONS], ids=["no symbols", "no symbols of data"])
def test_what_the_kernel_keeps_to_itself_is_left_to_attaching(symbols: dict[str, int]) -> None:
    assert on(symbols)["TCP receive grows"] == "raw tracepoint sk_data_ready"


def test_a_hidden_address_is_no_address() -> None:
    symbols = TRACED | {"sock_wfree": 0}
    sights = choose(TRACEPOINTS, symbols, lacking(symbols))
    hidden = next(sight for sight in sights if sight.thing == "UDP send shrinks")
    assert hidden.candidate is None
    assert "kptr_restrict" in " ".join(hidden.refused)


def test_what_was_refused_is_not_taken_again() -> None:
    symbols = FUNCTIONS | TRACED
    refused: dict[Hook, str] = {}
    for _ in HOOKS:
        sights = choose(BOTH, symbols, refused)
        hooks = [hook for sight in sights if sight.candidate for hook in sight.candidate.hooks]
        assert not refused.keys() & set(hooks)
        if not hooks:
            break
        refused[hooks[0]] = "no"
    assert {sight.thing for sight in sights if sight.candidate} == {"UDP socket ends"}, (
        "the row's last is no hook"
    )


def test_the_hooks_of_drains_are_attached_on_demand_only_where_no_earlier_drain_is_missed() -> None:
    """Not on 6.3 to 6.15 without kprobes: a sending call is seen when it returns, after what was freed in it."""

    def demanded(kinds: frozenset[HookKind], symbols: dict[str, int], *, can_look: bool = True) -> set[str]:
        return set(on_demand(choose(kinds, symbols, lacking(symbols)), can_look=can_look))

    both, sent = {"TCP receive shrinks", "TCP send shrinks", "UDP receive shrinks"}, {"UDP send shrinks"}
    newest = TRACED | {"sock_wfree": 1}
    older = {name: at for name, at in newest.items() if not name.endswith("tcp_sendmsg_locked")}
    blind = {name: at for name, at in newest.items() if not name.endswith("sk_data_ready")}
    assert demanded(BOTH, FUNCTIONS | TRACED) == both, "a kprobe sees what UDP has sent"
    assert demanded(KPROBES, FUNCTIONS) == both
    assert demanded(TRACEPOINTS, newest) == both | sent
    assert demanded(TRACEPOINTS, older) == both - {"TCP send shrinks"} | sent
    assert demanded(TRACEPOINTS, blind) == {"TCP send shrinks"} | sent
    assert demanded(TRACEPOINTS, newest, can_look=False) == sent
