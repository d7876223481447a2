# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whether a browser sends a request, and for which page, as far as the headers show it.

Browsers send Sec-Fetch-Site, but Safari only since 16.4, Firefox since 90, and all only over TLS or to loopback. They
send Origin with a POST, old ones not even then, and never with the GET of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    Headers = Mapping[bytes, bytes]

OURS = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site that are allowed: our own page; no page, as from the address bar or another program."""
OF_BROWSERS = (
    b"cookie", b"accept-language", b"upgrade-insecure-requests", b"purpose", b"x-moz", b"x-purpose", b"dnt",
    b"ping-from", b"ping-to", b"referer", b"origin",
)  # fmt: skip
"""Headers that browsers send, and other programs only where they are made to."""
SHOWN = (b"text/html", b"image/", b"text/css", b"video/", b"audio/", b"xhtml")
"""Parts of the Accept header of a browser, for what it would show."""


def is_foreign(headers: Headers) -> bool:
    """Whether the headers say that a page of another origin makes a browser send this request."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in OURS:
        return True
    host = headers.get(b"host", b"").lower()
    origins = [headers[name] for name in (b"origin", b"referer") if name in headers]
    return any(_netloc(url) != host for url in origins)


def is_browser(headers: Headers) -> bool:
    """Whether a browser sends this request, unless its headers prove that it is for our own page."""
    if headers.get(b"sec-fetch-site") == b"same-origin" or b"origin" in headers:
        return is_foreign(headers)
    agent = headers.get(b"user-agent", b"").lower()
    accepted = headers.get(b"accept", b"").lower()
    return (
        b"mozilla/" in agent  # all browsers of today call themselves that
        or agent.startswith(b"opera/")
        or any(kind in accepted for kind in SHOWN)
        or any(name in headers for name in OF_BROWSERS)
        or any(name.startswith(b"sec-") for name in headers)
    )


def host_of(header: bytes) -> str:
    """Return the name or address in a Host header, without the port; empty where it has none."""
    try:
        return (urlsplit(f"//{header.decode('latin-1')}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _netloc(url: bytes) -> bytes | None:
    try:
        return urlsplit(url.decode("latin-1")).netloc.lower().encode("latin-1") or None
    except ValueError:
        return None
