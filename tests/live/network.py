# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Network namespaces with a slow link between them, made by the tests and removed by them.

UDP send queues need it: loopback and a plain veth give a datagram's bytes back before the sending call returns.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sockbpf.kernel.look.netns import inside

DISCARD = 9
_numbers = itertools.count()


def ip(*arguments: str) -> None:
    """Run the `ip` command; fail when it does."""
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def namespace() -> Iterator[str]:
    """Make a named network namespace with its loopback up; yield its name."""
    name = f"sockbpf-{os.getpid()}-{next(_numbers)}"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


@dataclass(frozen=True)
class Link:
    """A sender's namespace, and the addresses by family that lie at the far end of its slow device."""

    sender: str
    receiver: str
    far: dict[str, str]

    def release(self) -> None:
        """Have all that waits leave at once, as soon as the bucket looks again."""
        _bucket("change", self.sender, "1gbit", "1mb")

    def hold(self, rate: str) -> None:
        """Be slow again."""
        _bucket("change", self.sender, rate, "1600")


def _bucket(do: str, sender: str, rate: str, burst: str) -> None:
    bucket = f"tc qdisc {do} dev slow root tbf rate {rate} burst {burst} limit 100mb"
    ip("netns", "exec", sender, *bucket.split())


@contextmanager
def slow_link(rate: str = "8kbit") -> Iterator[Link]:
    """Join two namespaces by veth, with a token bucket in front of the sender's device."""
    with ExitStack() as stack:
        sender, receiver = stack.enter_context(namespace()), stack.enter_context(namespace())
        ip("-n", sender, "link", "add", "slow", "type", "veth", "peer", "name", "far", "netns", receiver)
        for name, device, last in ((sender, "slow", 1), (receiver, "far", 2)):
            ip("-n", name, "addr", "add", f"192.0.2.{last}/24", "dev", device)
            ip("-n", name, "addr", "add", f"2001:db8::{last}/64", "dev", device, "nodad")
            ip("-n", name, "link", "set", device, "address", f"02:00:00:00:00:0{last}", "up")
        for address in ("192.0.2.2", "2001:db8::2"):  # no resolution: nothing waits in a neighbour's queue
            ip(
                "-n",
                sender,
                "neigh",
                "add",
                address,
                "lladdr",
                "02:00:00:00:00:02",
                "dev",
                "slow",
                "nud",
                "permanent",
            )
        _bucket("add", sender, rate, "1600")
        with inside(f"/run/netns/{receiver}"):  # somebody listens: no refusal comes back
            sink = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody reads it: two datagrams
            sink.bind(("::", DISCARD))
        try:
            yield Link(
                sender, receiver, {"ipv4": "192.0.2.2", "ipv6": "2001:db8::2", "mapped": "::ffff:192.0.2.2"}
            )
        finally:
            # What waits in the bucket holds its socket, which holds the namespace, which holds the bucket.
            subprocess.run(
                ["ip", "-n", sender, "link", "del", "slow"], check=False, stderr=subprocess.DEVNULL
            )


@dataclass(frozen=True)
class Path:
    """The namespaces at both ends of a path, and the far end's addresses by family."""

    near: str
    far: str
    address: dict[str, str]
    router: str = ""
    """The namespace in between, if there is one; its device towards the far end is `out`."""


@contextmanager
def slow_path(rate: str, limit: str) -> Iterator[Path]:
    """Join two namespaces by a router, with a token bucket in front of its device towards the far end."""
    with ExitStack() as stack:
        near, router, far = (stack.enter_context(namespace()) for _ in range(3))
        ip("-n", near, "link", "add", "near", "type", "veth", "peer", "name", "in", "netns", router)
        ip("-n", router, "link", "add", "out", "type", "veth", "peer", "name", "far", "netns", far)
        for name, device, net, last in (
            *((near, "near", 1, 1), (router, "in", 1, 2), (router, "out", 2, 1), (far, "far", 2, 2)),
        ):
            ip("-n", name, "addr", "add", f"198.51.10{net}.{last}/24", "dev", device)
            ip("-n", name, "addr", "add", f"2001:db8:{net}::{last}/64", "dev", device, "nodad")
            ip("-n", name, "link", "set", device, "up")
        for name, net in ((near, 1), (far, 2)):
            last = 3 - net
            ip("-n", name, "route", "add", "default", "via", f"198.51.10{net}.{last}")
            ip("-n", name, "-6", "route", "add", "default", "via", f"2001:db8:{net}::{last}")
        for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            ip("netns", "exec", router, "sysctl", "-qw", key)
        bucket = (
            "tc",
            "qdisc",
            "add",
            "dev",
            "out",
            "root",
            "tbf",
            "rate",
            rate,
            "burst",
            "3000",
            "limit",
            limit,
        )
        ip("netns", "exec", router, *bucket)
        yield Path(near, far, {"ipv4": "198.51.102.2", "ipv6": "2001:db8:2::2"}, router)
