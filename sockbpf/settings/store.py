# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The settings of the store: `store:` in config.yaml."""

import ipaddress
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from sockbpf.process.user import OWN
from sockbpf.settings.addresses import HostPort, host_port
from sockbpf.settings.fields import FileSize, Section, Size, absolute_path, duration
from sockbpf.settings.http import Token
from sockbpf.settings.secret import hidden, secret

DATABASE = "sqlite:////var/lib/sockbpf-store/alerts.sqlite"
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound
"""An address that means all addresses -> the address by which this host reaches a process that listens on it."""
FORMS = "expected sqlite:////absolute/path, or postgresql, mysql or clickhouse and ://user@host/name"


def _listen(value: object) -> HostPort | None:
    if value in ("", None):
        return None
    return value if isinstance(value, HostPort) else host_port(str(value))


def _database(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError(FORMS)
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite" and re.fullmatch(r"//[^?#]*[^?#/]", rest):
        return text
    if scheme in {"postgresql", "postgresql+psycopg"} and _has_place_and_name(text):
        return f"postgresql+psycopg://{rest}"
    if scheme in {"mysql", "mysql+pymysql"} and _has_place_and_name(text):
        return f"mysql+pymysql://{rest}"
    if scheme in {"clickhouse", "clickhousedb"} and _has_place_and_name(text):
        return f"clickhousedb://{rest}"
    raise ValueError(FORMS)


def _has_place_and_name(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.port != 0 and bool(parts.path.strip("/"))
    except ValueError:  # its text may hold some of the password
        return False


def _user(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", value):
        raise ValueError("expected the name of a user such as sockbpf-store")
    return value


def _file(value: object) -> Path | None:
    return None if value in ("", None) else absolute_path(value)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address or name that only this host itself reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class StoreSettings(Section):
    """Where alerts are kept and shown. `keep` is in seconds, 0 for ever; `max_body`, `max_size` in bytes.

    `patience`: seconds that a client may take for the head of a request, with its TLS handshake, for its body, and to
    take the answer.

    `database` may hold a password: it stays out of the repr and must stay out of every message.
    """

    listen: Annotated[HostPort | None, PlainValidator(_listen)] = HostPort("127.0.0.1", 8080)
    database: Annotated[str, PlainValidator(secret(_database))] = Field(default=DATABASE, repr=False)
    keep: Annotated[float, duration("0s", "87600h")] = 30 * 86400.0
    user: Annotated[str, AfterValidator(_user)] = OWN
    token: Token = Field(default=None, repr=False)
    tls_cert: Annotated[Path | None, PlainValidator(_file)] = None
    tls_key: Annotated[Path | None, PlainValidator(_file)] = None
    max_body: Size = 10 * 2**20
    max_size: FileSize = 10 * 2**30
    patience: Annotated[float, duration("100ms", "5m")] = 15.0

    @model_validator(mode="after")
    def _token_unless_loopback(self) -> "StoreSettings":
        if self.listen and not is_loopback(self.listen.host) and not self.token:
            raise hidden("expected a token, or a listen that only this host reaches, such as 127.0.0.1:8080")
        return self

    @model_validator(mode="after")
    def _key_with_certificate(self) -> "StoreSettings":
        if bool(self.tls_cert) != bool(self.tls_key):
            raise hidden("expected both tls_cert and tls_key, or neither")
        return self

    @property
    def sqlite_path(self) -> Path | None:
        """The file, None where the database is not SQLite's."""
        return Path(self.database.partition("://")[2][1:]) if self.database.startswith("sqlite") else None


def names_of(listen: HostPort) -> frozenset[str]:
    """Return the hosts that a request to a store on loopback may name; empty for others, which may have any name."""
    if not is_loopback(listen.host):
        return frozenset()
    return frozenset({"localhost", "127.0.0.1", "::1", listen.host.lower().rstrip(".")})


def leads_to(url: str, listen: HostPort | None) -> bool:
    """Whether requests to this url are for a store that listens there.

    They are if the port is the same and the host is the one it listens on; for a store on loopback also localhost,
    127.0.0.1 and ::1, whichever of them it is; for a store on every address also any address of this host.
    """
    if listen is None:
        return False
    parts = urlsplit(url)
    host, port = _plain(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
    if port != listen.port:
        return False
    if listen.host in REACHED_AT:
        return is_loopback(host) or host in REACHED_AT or _is_of_this_host(host)
    return host == _plain(listen.host) or host in names_of(listen)


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def _is_of_this_host(address: str) -> bool:
    """Whether this is an address, not a name, that a socket here can have."""
    with suppress(ValueError, OSError):
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((address, 0))
            return True
    return False
