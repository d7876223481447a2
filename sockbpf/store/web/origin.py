# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which page, if any, has a browser send a request: told by its headers alone.

Browsers say so by Sec-Fetch-Site, but Safari only since 16.4, Firefox since 90, and none to a host beyond loopback
that does not speak TLS. Origin comes with what is posted, in old ones not even then, and never with an image's GET.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    Headers = Mapping[bytes, bytes]

OURS = frozenset({b"same-origin", b"none"})
"""Of Sec-Fetch-Site: our page; nobody's page, but the address bar or another program's link."""
OF_BROWSERS = (
    b"cookie", b"accept-language", b"upgrade-insecure-requests", b"purpose", b"x-moz", b"x-purpose", b"dnt",
    b"ping-from", b"ping-to", b"referer", b"origin",
)  # fmt: skip
"""What browsers send and a program that is told nothing does not."""
SHOWN = (b"text/html", b"image/", b"text/css", b"video/", b"audio/", b"xhtml")
"""What browsers accept, where they would show it."""


def is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page from elsewhere has it send this."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in OURS:
        return True
    host = headers.get(b"host", b"").lower()
    said = [headers[name] for name in (b"origin", b"referer") if name in headers]
    return any(_netloc(url) != host for url in said)


def is_browser(headers: Headers) -> bool:
    """Whether this comes out of a browser, and not proven to be asked for by our own page."""
    if headers.get(b"sec-fetch-site") == b"same-origin" or b"origin" in headers:
        return is_foreign(headers)
    agent = headers.get(b"user-agent", b"").lower()
    accepted = headers.get(b"accept", b"").lower()
    return (
        b"mozilla/" in agent  # all browsers of today say so
        or agent.startswith(b"opera/")
        or any(kind in accepted for kind in SHOWN)
        or any(name in headers for name in OF_BROWSERS)
        or any(name.startswith(b"sec-") for name in headers)
    )


def host_of(header: bytes) -> str:
    """Return the name or address of a Host header; empty where it has none."""
    try:
        return (urlsplit(f"//{header.decode('latin-1')}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _netloc(url: bytes) -> bytes | None:
    try:
        return urlsplit(url.decode("latin-1")).netloc.lower().encode("latin-1") or None
    except ValueError:
        return None
