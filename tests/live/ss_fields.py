# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `ss -tuanpemi` says of each socket, by the names that `sockbpf sockets --json` has for it."""

from __future__ import annotations

import re
import subprocess
from typing import Any

Key = tuple[str, str, int, str, int]
"""Protocol, and both ends."""

Seen = dict[str, Any]

AGES = "ages"
"""What is another a moment later."""

WITHOUT_TIMES = {"LISTEN", "SYN-SENT", "SYN-RECV", "TIME-WAIT"}


def ss_fields(netns: str = "") -> dict[Key, Seen]:
    """Return what it shows of each TCP and UDP socket; in a named network namespace if given."""
    found: dict[Key, Seen] = {}
    for line in _lines(netns):
        key, seen = _parsed(line)
        assert not netns or key not in found, line  # of others several can listen at one end
        found[key] = seen
    return found


def _lines(netns: str) -> list[str]:
    inside = ["ip", "netns", "exec", netns] if netns else []
    command = [*inside, "ss", "-HOtuanpemi"]
    shown = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout
    return [
        line for line in shown.split("\n") if line.startswith(("tcp ", "udp "))
    ]  # names can have line breaks


def _parsed(line: str) -> tuple[Key, Seen]:
    protocol, state, recv_q, send_q, local, remote, *rest = line.split()
    key = (protocol, *_end(local, remote), *_end(remote, local))
    recv, send, more = int(recv_q), int(send_q), " ".join(rest)
    seen: Seen = {"pids": set(), "comms": set()}
    for comm, pid in re.findall(r'\("([^"]*)",pid=(\d+),fd=\d+\)', more):
        seen["comms"].add(comm)
        seen["pids"].add(int(pid))
    if protocol == "tcp":
        seen["state"] = state
    inode = re.search(r"\bino:([1-9]\d*)", more)
    if inode:
        uid = re.search(r"\buid:(\d+)", more)
        seen |= {"inode": int(inode[1]), "uid": int(uid[1]) if uid else 0}
    cgroup = re.search(r"\bcgroup:(/\S*)", more)
    if cgroup:
        seen["cgroup"] = cgroup[1]
    memory = {name: int(value) for name, value in re.findall(r"\b(rb|tb|r|t|w|d)(\d+)", _memory(more))}
    if memory:
        seen["drops"] = memory["d"]
    if state == "LISTEN":
        return key, seen | {"accept": recv, "accept_limit": send}
    seen |= {"recv": recv, "send": send}
    if protocol == "tcp" and state not in WITHOUT_TIMES:
        seen[AGES] = _ages(recv, send, more)
    if memory:
        charged = memory["w"] if protocol == "tcp" else memory["t"]
        seen |= {"recv_limit": memory["rb"], "recv_fill": memory["r"] * 100 // memory["rb"]}
        seen |= {"send_limit": memory["tb"], "send_fill": charged * 100 // memory["tb"]}
    return key, seen


def _ages(recv: int, send: int, more: str) -> dict[str, int]:
    """Return how long ago queues moved that hold something, milliseconds, by lastrcv, lastsnd and lastack."""
    times = dict.fromkeys(("rcv", "snd", "ack"), 0)  # those that are 0 are not shown
    times |= {name: int(ms) for name, ms in re.findall(r"\blast(\w{3}):(\d+)", more)}
    ages = {"recv_age_ms": times["rcv"], "send_age_ms": max(times["snd"], times["ack"])}
    return {name: age for (name, age), held in zip(ages.items(), (recv, send), strict=True) if held}


def _memory(text: str) -> str:
    found = re.search(r"skmem:\(([^)]*)\)", text)
    return found[1] if found else ""


def _end(end: str, other: str) -> tuple[str, int]:
    ip, _, port = end.rpartition(":")
    if ip == "*":  # how ss shows the IPv6 address of a socket that takes IPv4 too
        ip = "::"
    assert ip or other
    return ip.strip("[]"), 0 if port == "*" else int(port)


def key_of(row: Seen) -> Key:
    """Return the key of an object of `sockbpf sockets --json`."""
    return (row["protocol"], row["local_ip"], row["local_port"], row["remote_ip"], row["remote_port"])
