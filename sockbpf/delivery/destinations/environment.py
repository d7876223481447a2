# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What environment variables add to a request, tried before the first one: a proxy, a bundle of authorities."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3.util import parse_url

from sockbpf.delivery.transport import UnusableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests


def bundle() -> str | None:
    """Return the file or folder of authorities to use in place of the public ones, by the rule of requests."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")


def check_bundle(url: str, path: str | None) -> None:
    """Raise UnusableError if the environment's bundle cannot serve a request to this url."""
    if path is None or not url.startswith("https:"):
        return
    try:
        folder = os.path.isdir(path)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            None if folder else path, path if folder else None
        )
    except (OSError, ValueError):
        raise UnusableError(
            "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE of the environment is no file of certificates, PEM"
        ) from None


def check_proxy(session: requests.Session, url: str, proxies: Mapping[str, str]) -> None:
    """Raise UnusableError if the environment's proxy for this url cannot be used."""
    proxy = select_proxy(url, proxies)
    if not proxy:
        return
    try:
        whole = prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]
        adapter = session.get_adapter(url)
        if not parse_url(whole).host:
            raise UnusableError
        adapter.proxy_manager_for(whole)  # type: ignore[attr-defined]
        adapter.proxy_headers(whole)  # type: ignore[attr-defined]
    except (ValueError, OSError, ImportError):
        raise UnusableError(
            "the proxy that the environment names for it (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be one"
        ) from None
