# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The answers that are errors: a status and a reason, as RFC 9457 has them (application/problem+json)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from sockbpf.store.data.values import EntryError

if TYPE_CHECKING:
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "unexpected; the log of the store says more"


class Problem(Exception):  # noqa: N818  the name of RFC 9457
    """An answer that is an error: its status, a reason for people to read, and headers."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """Header names are written with `_` in place of `-`."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def body(self) -> bytes:
        """Return the body of the answer."""
        title = HTTPStatus(self.status).phrase
        said = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return json.dumps(said).encode()


def busy() -> Problem:
    """Return what is answered while nothing can be written: a new one, since a traceback holds what was sent."""
    return Problem(503, "the database is busy or away", retry_after="1")


def full() -> Problem:
    """Return what is answered while too much waits, likewise."""
    return Problem(429, "too many entries wait to be written", retry_after="1")


def last_answer(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of an answer after which the connection is closed.

    The headers that every answer has (`guard.HEADERS`) are not among them.
    """
    body = problem.body()
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close")]
    return [*headers, (b"content-length", b"%d" % len(body))], body


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101  HANDLERS says so
    headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
    return Response(error.body(), error.status, headers, MEDIA_TYPE)


async def _on_entry_error(request: Request, error: Exception) -> Response:
    return await _on_problem(request, Problem(422, str(error)))


async def _on_disconnect(request: Request, _: Exception) -> Response:
    return await _on_problem(request, Problem(400, "the body has no end"))  # the client has gone


async def _on_unexpected(request: Request, _: Exception) -> Response:
    return await _on_problem(request, Problem(500, UNEXPECTED))  # the guard writes the exception into the log


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  HANDLERS says so
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return await _on_problem(request, Problem(error.status_code, str(error.detail), **headers))


HANDLERS = {
    Problem: _on_problem,
    EntryError: _on_entry_error,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_disconnect,
    Exception: _on_unexpected,
}
"""Exception of a route -> what makes an answer of it, for Starlette."""
