# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The options of requests to an HTTP receiver: TLS, headers, token. What can be tried at the start is tried."""

import re
import ssl
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

from sockbpf.settings.fields import Section, absolute_path
from sockbpf.settings.secret import hidden, secret

FRAMING = ("connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade")
"""Headers that say how the request itself is sent: the HTTP client sets them."""

PEM_BYTES = 16 * 2**20

CERTIFICATES = "a file of certificates, PEM"
KEY = "the key of client_cert, PEM, without a passphrase"


def _unless_empty(check: Callable[[object], object]) -> PlainValidator:
    return PlainValidator(lambda value: check(value) if value not in ("", None) else None)


def _load(what: str, load: Callable[..., None], *files: Path | None, **options: Any) -> None:
    try:
        load(*files, **options)
    except ssl.SSLError:
        raise ValueError(f"expected {what}") from None
    except OSError as error:
        raise ValueError(f"expected {what}, it cannot be read: {error.strerror}") from None


def _need_file(path: Path, what: str) -> None:
    """Raise ValueError unless it is a file of a size that a certificate has: a pipe or a device has no end."""
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"expected {what}, it cannot be read: {error.strerror}") from None
    is_folder = stat.S_ISDIR(status.st_mode)  # opening it fails with a better message
    if not (is_folder or stat.S_ISREG(status.st_mode)) or status.st_size > PEM_BYTES:
        raise ValueError(f"expected {what}")


def _certificates(value: object) -> Path:
    path = absolute_path(value)
    _need_file(path, CERTIFICATES)
    _load(CERTIFICATES, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations, path)
    return path


def _header_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}", value):
        raise hidden("expected names of headers such as X-Team, got another")
    if value.lower() in FRAMING:
        raise hidden(f"expected names of headers other than {', '.join(FRAMING)}")
    return value


def _header_value(text: str) -> str:
    if not re.fullmatch(r"[!-~]([ -~\t]*[!-~])?", text):
        raise ValueError("expected the value of a header, one line of ASCII without a space at its ends")
    return text


def _each_once(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise hidden("expected no header twice, upper and lower case are the same")
    return headers


def http_token(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("expected a token, ASCII without spaces")
    return text


def authorizes(headers: Iterable[str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


HeaderName = Annotated[str, BeforeValidator(_header_name)]
HeaderValue = Annotated[str, PlainValidator(secret(_header_value))]
Token = Annotated[str | None, _unless_empty(secret(http_token))]
Certificates = Annotated[Path | None, _unless_empty(_certificates)]


class TlsOptions(Section):
    """`ca_file` takes the place of the public authorities; the file of `client_cert` may have its key in it too."""

    ca_file: Certificates = None
    client_cert: Certificates = None
    client_key: Annotated[Path | None, _unless_empty(absolute_path)] = Field(
        default=None, validate_default=True
    )

    @field_validator("client_key")
    @classmethod
    def _fits_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("client_cert")
        if certificate:
            if key:
                _need_file(key, KEY)
            load = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain
            _load(KEY, load, certificate, key, password=lambda: "")  # else OpenSSL asks the terminal for one
        elif key and "client_cert" in info.data:
            raise ValueError("expected client_cert beside it")
        return key


class HttpOptions(TlsOptions):
    """`token` is sent as `Authorization: Bearer`. The values of the headers and the token are secret."""

    headers: Annotated[dict[HeaderName, HeaderValue], AfterValidator(_each_once)] = Field(
        default={}, repr=False
    )
    token: Token = Field(default=None, repr=False)

    @field_validator("token")
    @classmethod
    def _only_authorization(cls, token: str | None, info: ValidationInfo) -> str | None:
        if token and authorizes(info.data.get("headers", ())):
            raise hidden("expected either a token or a header Authorization")
        return token

    @field_validator("url", check_fields=False)  # where these are the options of one url
    @classmethod
    def _one_login(cls, url: str, info: ValidationInfo) -> str:
        one_login(url, info.data.get("token"), info.data.get("headers", ()))
        return url


def one_login(url: str, token: str | None, headers: Iterable[str]) -> None:
    """Raise an error when both the url and the options have a login."""
    if (token or authorizes(headers)) and urlsplit(url).username is not None:
        raise hidden("expected no user in the url beside a token or a header Authorization")
