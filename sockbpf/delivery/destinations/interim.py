# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The answer to a request, and what a receiver may say before it: 100 Continue, 102 Processing, 103 Early Hints."""

from __future__ import annotations

import http.client

SWITCHING_PROTOCOLS = 101
"""Final: what follows it is no HTTP any more, and nobody has asked for it."""

FINAL = 200
MOST = 100
"""So many are read; a receiver that has more to say before it answers is given up."""


class Answer(http.client.HTTPResponse):
    """http.client by itself passes over 100 alone, and takes another 1xx for the answer."""

    def begin(self) -> None:
        """Read the status and the headers of the answer."""
        for _ in range(MOST):
            super().begin()
            if self.status >= FINAL or self.status == SWITCHING_PROTOCOLS:
                return
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first
        raise http.client.HTTPException("nothing but interim answers")
