# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The answer to a request, and what a receiver may say before it: 100 Continue, 102 Processing, 103 Early Hints."""

from __future__ import annotations

import http.client

SWITCHING_PROTOCOLS = 101
"""A final answer, though below 200: what follows it is not HTTP any more. Our requests never ask for it."""

FINAL = 200
MOST = 100
"""Interim answers that are read before the answer itself; a receiver that sends more has failed."""


class Answer(http.client.HTTPResponse):
    """Skips all interim answers. http.client skips 100 alone, and takes another 1xx for the answer."""

    def begin(self) -> None:
        """Read the status and the headers of the answer."""
        for _ in range(MOST):
            super().begin()
            if self.status >= FINAL or self.status == SWITCHING_PROTOCOLS:
                return
            self.headers = self.msg = None  # type: ignore[assignment]  # as they were before `begin`
        raise http.client.HTTPException("nothing but interim answers")
