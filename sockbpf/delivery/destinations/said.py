# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a receiver says of a failure, as a line of the log may have it: short, printable, without our secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sockbpf.delivery.destinations.values import cut
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from sockbpf.settings.http import HttpOptions

CHARACTERS = 300
"""So much of a text is shown."""


class Said:
    """Makes texts of one receiver fit for the log."""

    def __init__(self, url: str, options: HttpOptions) -> None:
        secrets = (options.token, *options.headers.values(), unquote(urlsplit(url).password or ""))
        self._secrets = [str(secret) for secret in secrets if secret]

    def plain(self, text: str) -> str:
        """Return a text of the receiver; a secret of ours that it repeats is not shown."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return cut(printable(text.strip()), CHARACTERS)
