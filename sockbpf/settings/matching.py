# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a condition of a rule can hold: a port, an address, a pattern, a user, a network namespace.

Every fault is a ValueError that says what was expected.
"""

from __future__ import annotations

import ipaddress
import pwd
import re
from typing import Annotated

from pydantic import PlainValidator

from sockbpf.record.event import Protocol as Transport
from sockbpf.record.rule import Prefix

HIGHEST_PORT = 65535
NAME_BYTES = 15
"""What the kernel keeps of a process's name (TASK_COMM_LEN, less the zero at its end)."""
PATTERN_BYTES = 255
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def one_or_more(value: object) -> object:
    """Return a list: of the value alone if it is none."""
    if not isinstance(value, (list, tuple)):
        return [value]
    if not value:
        raise ValueError("expected a value, or a list with something in it")
    return value


def _protocol(value: object) -> Transport:
    if value not in ("tcp", "udp"):
        raise ValueError("expected one of tcp, udp")
    return Transport[str(value).upper()]


def _port(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"(0|[1-9][0-9]{0,4})(?: ?- ?(0|[1-9][0-9]{0,4}))?", str(value))
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= HIGHEST_PORT:
        raise ValueError(f"expected a port from 0 to {HIGHEST_PORT}, or a range such as 8000-8100")
    return first, last


def _prefix(value: object) -> Prefix:
    try:
        network = ipaddress.ip_network(str(value)) if re.fullmatch(r"[0-9A-Fa-f.:/]+", str(value)) else None
    except ValueError as fault:
        if "host bits set" in str(fault):
            whole = ipaddress.ip_network(str(value), strict=False)
            raise ValueError(f"expected a prefix without bits behind its length, such as {whole}") from None
        network = None
    if network is None:
        raise ValueError("expected an address or a prefix such as 10.0.0.0/8 or 2001:db8::/32")
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        first = int(network.network_address) & 0xFFFFFFFF
        return Prefix(4, first, network.prefixlen - MAPPED.prefixlen)
    return Prefix(network.version, int(network.network_address), network.prefixlen)


def _pattern(value: object, what: str) -> str:
    if (
        not isinstance(value, str)
        or not value
        or not value.isprintable()
        or len(value.encode()) > PATTERN_BYTES
    ):
        raise ValueError(f"expected {what}")
    return value


def _process(value: object) -> str:
    pattern = _pattern(value, "a process's name or a pattern such as rsync*")
    if "/" in pattern:
        raise ValueError("expected a process's name, without a path")
    if not re.search(r"[*?\[]", pattern) and len(pattern.encode()) > NAME_BYTES:
        raise ValueError(
            f"expected at most {NAME_BYTES} bytes, what the kernel keeps of a name; or a pattern"
        )
    return pattern


def _user(value: object) -> int:
    text = str(value)
    if re.fullmatch(r"0|[1-9][0-9]{0,9}", text):
        if int(text) < 2**32 - 1:
            return int(text)
    elif re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.@-]{0,255}\$?", text):
        try:
            return pwd.getpwnam(text).pw_uid
        except KeyError:
            raise ValueError("expected a user that this host has, or the number of one") from None
    raise ValueError("expected a user's name or number")


def _unit(value: object) -> str:
    pattern = _pattern(value, "a unit of systemd or a pattern such as backup*.service")
    if "/" in pattern or not re.search(r"[.*?\]]", pattern):
        raise ValueError("expected a unit with its suffix, such as backup.service")
    return pattern


def _container(value: object) -> str:
    pattern = _pattern(value, "a container's id, its first 12 digits, or a pattern")
    if not re.fullmatch(r"[0-9a-f*?\[\]!-]{1,64}", pattern):
        raise ValueError("expected a container's id, its first 12 digits, or a pattern")
    return pattern


def _cgroup(value: object) -> str:
    pattern = _pattern(value, "the path of a cgroup or a pattern such as /system.slice/*")
    if not pattern.startswith(("/", "*")):
        raise ValueError("expected a path that begins with / or *, such as /system.slice/*")
    return pattern


def _namespace(value: object) -> str | int:
    text = str(value)
    if re.fullmatch(r"[1-9][0-9]{0,9}", text) and int(text) < 2**32:
        return int(text)
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@:+-]{0,254}", text):
        raise ValueError("expected a network namespace's name, or its inode number")
    return text


ProtocolName = Annotated[Transport, PlainValidator(_protocol)]
Port = Annotated[tuple[int, int], PlainValidator(_port)]
Prefixed = Annotated[Prefix, PlainValidator(_prefix)]
Process = Annotated[str, PlainValidator(_process)]
User = Annotated[int, PlainValidator(_user)]
Unit = Annotated[str, PlainValidator(_unit)]
Container = Annotated[str, PlainValidator(_container)]
Cgroup = Annotated[str, PlainValidator(_cgroup)]
Namespace = Annotated[str | int, PlainValidator(_namespace)]
