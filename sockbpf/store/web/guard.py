# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What every request passes before anything looks at it, and every answer on its way out.

Sizes, times, who may ask and from where; security headers; and that whatever goes wrong inside leaves as a problem
without a traceback.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sockbpf.store.web.origin import host_of, is_browser, is_foreign
from sockbpf.store.web.problem import UNEXPECTED, Problem, last_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

ANSWER_S = 20.0
"""How long an answer may take, but for a stream's."""
MOST_QUERY = 16 * 1024
"""Bytes."""

BODIES = 2
"""So many bodies of the greatest size may be under way at once; of smaller ones more."""
SLOW_S = 30.0
"""How long a listener may take for what it is sent."""

HOT = "/alert"
"""Waits for nothing but the commit, and has no body that anybody reads."""
ENDLESS = "/stream"

AUTHORIZED, TRUSTED, PEER = "sockbpf.authorized", "sockbpf.trusted", "sockbpf.peer"
"""In the scope: whether the request came with the token; whether with it, or from the monitor's user; who asks."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """ASGI in front of the application. `open_paths` need no token; `hosts` are the names we go by, none: any.

    A body may have `max_body` bytes and may take `body_s` seconds to come.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        max_body: int,
        body_s: float,
        hosts: frozenset[str],
        open_paths: Iterable[str],
    ) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode() if token else b""
        self._max_body = max_body
        self._body_s = body_s
        self._hosts = hosts
        self._open_paths = frozenset(open_paths)
        self._held = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            self._check(scope)
            if scope["path"] == HOT:
                await self._app(scope, receive, answer)
                return
            with self._counted() as taken:
                await self._bounded(scope, self._body(scope, receive, taken), answer)
        except Problem as error:
            await self._say(error, answer, begun=begun)
        except asyncio.TimeoutError:
            await self._say(Problem(503, "this took too long", retry_after="1"), answer, begun=begun)
        except Exception:
            log.exception("unexpected")
            await self._say(Problem(500, UNEXPECTED), answer, begun=begun)

    async def _bounded(self, scope: Message, receive: Receive, answer: Send) -> None:
        if scope["path"] == ENDLESS:

            async def in_time(message: Message) -> None:
                await asyncio.wait_for(answer(message), SLOW_S)

            with suppress(asyncio.TimeoutError):  # who does not read is let go
                await self._app(scope, receive, in_time)
        else:
            await asyncio.wait_for(self._app(scope, receive, answer), ANSWER_S)

    @staticmethod
    async def _say(error: Problem, answer: Send, *, begun: bool) -> None:
        if begun:
            return
        headers, body = last_answer(error)
        await answer({"type": "http.response.start", "status": error.status, "headers": headers})
        await answer({"type": "http.response.body", "body": body})

    def _check(self, scope: Message) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(scope["query_string"]) > MOST_QUERY:
            raise Problem(414, f"expected parameters of at most {MOST_QUERY} bytes")
        if self._hosts and host_of(headers.get(b"host", b"")) not in self._hosts:
            # A page elsewhere may have its own name lead here.
            raise Problem(421, "this is not the host that was asked for")
        writes = scope["path"] == HOT or scope["method"] not in {"GET", "HEAD"}
        is_page = not writes and scope["path"] in self._open_paths
        if not is_page and is_foreign(headers):  # a GET keeps an alert: an image's address would do
            raise Problem(403, "a page of another origin may ask nothing here")
        scope[AUTHORIZED] = False
        if self._token and scope["path"] not in self._open_paths:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                raise Problem(401, "expected Authorization: Bearer and the token", www_authenticate="Bearer")
            scope[AUTHORIZED] = scope[TRUSTED] = True
        # No page can have a browser send the token. Our own page only reads.
        if writes and not scope[AUTHORIZED] and is_browser(headers):
            raise Problem(403, "a browser sends this, for a page that is not of here: it may write nothing")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._max_body:
            raise Problem(413, f"expected at most {self._max_body} bytes")

    @contextmanager
    def _counted(self) -> Iterator[list[int]]:
        """Count what the bodies of all requests take until they are answered."""
        taken = [0]
        try:
            yield taken
        finally:
            self._held -= taken[0]

    def _body(self, scope: Message, receive: Receive, taken: list[int]) -> Receive:
        end_s = asyncio.get_running_loop().time() + self._body_s
        over = scope["method"] in {"GET", "HEAD"}

        async def bounded() -> Message:
            nonlocal over
            if over:
                return await receive()  # waits for the client to go away
            left_s = end_s - asyncio.get_running_loop().time()
            try:
                message = await asyncio.wait_for(receive(), max(left_s, 0.001))
            except asyncio.TimeoutError:
                raise Problem(408, f"expected the body within {self._body_s:g} s") from None
            size = len(message.get("body", b""))
            taken[0] += size
            self._held += size
            over = not message.get("more_body", False)
            if taken[0] > self._max_body:
                raise Problem(413, f"expected at most {self._max_body} bytes")
            if self._held > self._max_body * BODIES:
                self._held -= taken[0]  # at once, or the next ones would be sent away for its sake
                taken[0] = 0
                raise Problem(503, "too much is being sent at once", retry_after="2")
            return message

        return bounded
