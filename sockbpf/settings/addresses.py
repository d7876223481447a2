# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Network addresses as config.yaml writes them: a url, a host with its port, a syslog address.

Every fault is a ValueError that says what was expected and shows nothing of the value.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from sockbpf.settings.yaml_source import plain_url, shown

MAX_URL = 2000  # leaves room for the parameters in the 8 KiB that common servers take
SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less the zero at its end
URL = "http://127.0.0.1:8080/alert"
WHERE = f"where alerts go, such as {URL}"
"""The description of a key that is a url."""

PORT = "expected a port from 1 to 65535"
HOST_PORT = "expected a host and a port such as 127.0.0.1:9464 or [::1]:9464"
SYSLOG = "expected /dev/log, or an address such as udp://192.0.2.1:514 or tcp://192.0.2.1:601"


class HostPort(NamedTuple):
    """The host is a name or an IP address, without brackets."""

    host: str
    port: int


class SyslogAddress(NamedTuple):
    """Where a syslog daemon listens: `transport` is unix, udp or tcp; for unix, `host` is the socket's path."""

    transport: str
    host: str
    port: int = 0


def web_url(text: str) -> str:
    """Check a url for all that the HTTP client would refuse later."""
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("expected a url without spaces, control characters and backslashes")
    if "#" in text:
        raise ValueError("expected a url without a fragment (#...)")
    if len(text) > MAX_URL:
        raise ValueError(f"expected a url of at most {MAX_URL} characters")
    try:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not _has_host(parts):
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise ValueError(f"expected an http or https address with a host, such as {URL}") from None
    _port_of(parts)
    _check_login(parts)
    return text


def _check_login(parts: SplitResult) -> None:
    """HTTP's user and password are Latin-1 (RFC 7617), as nearly all servers read them."""
    try:
        for part in (parts.username, parts.password):
            unquote(part or "").encode("latin-1")
    except ValueError:
        raise ValueError(
            "expected only characters of Latin-1 in the user and the password of the url; else use a token"
        ) from None


def base_url(text: str) -> str:
    """Check a url to which a path is appended."""
    if "?" in web_url(text):
        raise ValueError("expected a url without a query (?...)")
    return text


def store_url(text: str) -> str:
    """Check a url for one of a store, to which /alerts is appended."""
    if base_url(text).rstrip("/").endswith(("/alert", "/alerts")):
        raise ValueError("expected the url that stands before /alerts, such as https://store.example:8080")
    return text


def host_port(text: str) -> HostPort:
    try:
        parts = urlsplit(f"//{text}")
        if parts.netloc != text or "@" in text or not text.isprintable() or not _has_host(parts):
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise ValueError(HOST_PORT) from None
    if (port := _port_of(parts)) is None:
        raise ValueError(HOST_PORT)
    return HostPort(parts.hostname or "", port)


def syslog_address(text: str) -> SyslogAddress:
    if text.startswith("/") and text.isprintable() and _is_path(text, SOCKET_PATH_BYTES):
        return SyslogAddress("unix", text)
    transport, _, rest = text.partition("://")
    if transport not in {"udp", "tcp"}:
        raise ValueError(SYSLOG)
    try:
        return SyslogAddress(transport, *host_port(rest))
    except ValueError as error:
        raise ValueError(PORT if str(error) == PORT else SYSLOG) from None


def _is_path(text: str, most: int) -> bool:
    try:
        return len(os.fsencode(text)) <= most
    except UnicodeEncodeError:
        return False


def _port_of(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(PORT)
    return port


def _has_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.rpartition("@")[2].startswith("["):
        return bool(ipaddress.IPv6Address(host))
    return bool(re.fullmatch(r"(?!.{254})([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?", host))


def without_secrets(text: str) -> str:
    """Return a faulty url for a message, without what may be secret in it."""
    return shown(plain_url(text))
