# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a receiver says of a failure, as a line of the log may have it: short, printable, without our secrets."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sockbpf.delivery.destinations.values import cut
from sockbpf.record.text import printable
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from sockbpf.settings.http import HttpOptions

CHARACTERS = 300
"""So much of a text is shown."""


class Said:
    """Makes texts of one receiver, that of `url`, fit for the log."""

    def __init__(self, url: str, options: HttpOptions) -> None:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        path = parts.path.strip("/") if isinstance(url, Secret) else ""
        headers = [str(value) for value in options.headers.values()]
        secrets = {str(options.token or ""), user, password, path, unquote(path), *headers}
        secrets |= {value.partition(" ")[2] for value in headers}  # as of `Basic bW9uOnMzY3JldA==`
        if user or password:
            secrets.add(b64encode(f"{user}:{password}".encode("latin-1")).decode())
        # The longer first: one may be a part of another.
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def plain(self, text: str) -> str:
        """Return a text of the receiver; a secret of ours that it repeats is not shown."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return cut(printable(text.strip()), CHARACTERS)
