# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The page's files, held in memory: the user that the store becomes may not be able to read them."""

from __future__ import annotations

from hashlib import blake2s
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

FOLDER = Path(__file__).parents[1] / "page"
INDEX = "index.html"
SHOWN = {".html", ".js", ".css", ".svg", ".txt"}
TEXT = {".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routes() -> list[Route]:
    """Read the files; return a route for each; index.html is at `/`."""
    files = [file for file in FOLDER.iterdir() if file.suffix in SHOWN]
    return [Route("/" if file.name == INDEX else f"/{file.name}", _server_of(file)) for file in files]


def _server_of(file: Path) -> Callable[[Request], Awaitable[Response]]:
    body = file.read_bytes()
    kind = TEXT.get(file.suffix) or guess_type(file.name)[0] or "text/plain"
    headers = {"ETag": f'"{blake2s(body, digest_size=8).hexdigest()}"', "Cache-Control": "no-cache"}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    return serve
