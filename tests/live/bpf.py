# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What stands in the kernel, told by bpftool and /proc, not by the monitor."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from sockbpf.record.event import Event, decode
from tests.live.receiver import Told

TABLES = {"episodes", "held", "reaped", "tally", "settings", "own", "sending"}


def loaded(kind: str) -> set[int]:
    """Return the ids of the programs or tables of any monitor on the host: `kind` is prog or map.

    Before 4.13 the kernel lists none (34ad5580f8f9, "bpf: Add BPF_(PROG|MAP)_GET_NEXT_ID command").
    """
    shown = subprocess.run(["bpftool", "-j", kind, "show"], capture_output=True, check=False)
    if shown.returncode and b"Invalid argument" in shown.stdout + shown.stderr:
        return set()
    shown.check_returncode()
    return {
        entry["id"]
        for entry in json.loads(shown.stdout)
        if entry.get("name", "").startswith(("tp_", "kp_", "look_at_queue"))
        or (kind == "map" and entry.get("name") in TABLES)
    }


def shows_ids(pid: int) -> bool:
    """Whether this kernel says which tables a process holds: 4.18 and later, else nobody else can look into them."""
    return bool(bpf_ids(pid, "map_id"))


def open_episodes(pid: int) -> list[Event]:
    """Return what the kernel side of this monitor holds open, read by bpftool and not by the monitor."""
    shown = subprocess.run(["bpftool", "-j", "map", "show"], capture_output=True, check=True)
    tables = {entry["id"] for entry in json.loads(shown.stdout) if entry.get("name") == "episodes"}
    for number in tables & bpf_ids(pid, "map_id"):
        dump = subprocess.run(
            ["bpftool", "-j", "map", "dump", "id", str(number)], capture_output=True, check=True
        )
        values = (entry["value"] for entry in json.loads(dump.stdout))
        # In place of one that ended while it looked there is an error.
        return [decode(bytes(int(byte, 16) for byte in value)) for value in values if "error" not in value]
    pytest.fail(f"process {pid} holds no table of episodes")


def name_of(told: Told) -> tuple[str, ...]:
    """Return who the socket of an alert is, as `entry` does for one in the kernel's table."""
    return tuple(told[name] for name in ("netns", "protocol", "local_port", "remote_port", "type"))


def entry(episode: Event) -> tuple[str, ...]:
    sock = episode.socket
    numbers = str(sock.netns), sock.protocol.name.lower(), str(sock.local_port), str(sock.remote_port)
    return (*numbers, episode.direction.name)


def attachments(pid: int) -> int:
    """Return how many descriptors of this process attach a program to a hook; event buffers count too."""
    kinds = ("anon_inode:bpf_link", "anon_inode:bpf-raw-tracepoint", "anon_inode:[perf_event]")
    count = 0
    with suppress(OSError):  # the process closes descriptors meanwhile
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                count += os.readlink(entry.path).startswith(kinds)
    return count


def bpf_ids(pid: int, kind: str) -> set[int]:
    """Return the ids of the BPF objects that a process holds: `kind` is map_id or prog_id."""
    held: set[int] = set()
    with suppress(OSError):  # the process is gone, or closes descriptors meanwhile
        for entry in os.scandir(f"/proc/{pid}/fdinfo"):
            with suppress(OSError):
                held |= {
                    int(number)
                    for number in re.findall(rf"^{kind}:\t(\d+)", Path(entry.path).read_text(), re.MULTILINE)
                }
    return held
