# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The body of `POST /alerts`: lines of JSON, each an alert; what `GET /alert` refuses is refused here too."""

from __future__ import annotations

import json
import sys
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.values import EntryError
from sockbpf.store.web.problem import Problem
from sockbpf.store.web.query import MOST_PARAMETERS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from starlette.requests import Request

    from sockbpf.store.data.entry import Entry

MOST_LINES = 1000
MOST_BYTES = 8 * 2**20
"""Of a body once it is decompressed; a shorter one that claims to be longer is not decompressed beyond that."""
WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
"""Of zstd: so much of what was decompressed, a power of 2 bytes, it may refer back to, and so keep in memory."""
MOST_OF_LINE = 32 * 1024
"""Bytes of one line: a monitor makes no longer alert."""
ENCODINGS = ("gzip", "zstd", "identity")
"""How a body may be compressed, as Content-Encoding has it."""


@dataclass(slots=True)
class Batch:
    """The alerts of a body, in its order, and the lines that are none."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    """The number of each line, the first is 1, and why it is refused; that repeats nothing of the line."""


def encoding_of(request: Request) -> str:
    """Return how the body of a request is compressed, one of ENCODINGS; raise Problem for any other way."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise Problem(
            415, f"expected Content-Encoding {' or '.join(ENCODINGS)}", accept_encoding=", ".join(ENCODINGS)
        )
    return encoding


def lines_of(body: bytes, encoding: str) -> list[bytes]:
    """Return the lines of a body that is compressed by one of ENCODINGS; raise Problem for one that is too large."""
    if encoding != "identity":
        body = _decompressed(body, encoding)
    if len(body) > MOST_BYTES:
        raise Problem(413, f"expected at most {MOST_BYTES} bytes once decompressed")
    lines = body.split(b"\n", MOST_LINES + 1)
    if not lines[-1]:
        lines.pop()  # what stands behind the end of the last line
    if not lines:
        raise Problem(422, "expected lines, each with a JSON object")
    if len(lines) > MOST_LINES:
        raise Problem(413, f"expected at most {MOST_LINES} lines")
    return lines


def batch_of(body: bytes, encoding: str, *, is_trusted: bool) -> Batch:
    """Return the alerts of a body that is compressed by one of ENCODINGS; raise Problem for one that is too large."""
    batch = Batch()
    for number, line in enumerate(lines_of(body, encoding), 1):
        try:
            batch.entries.append(alert_entry(_fields(line), is_trusted=is_trusted))
        except EntryError as error:
            batch.refused.append((number, str(error)))
    return batch


def _decompressed(body: bytes, encoding: str) -> bytes:
    """Return what a body was before, no more than one byte more than is allowed; raise Problem."""
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    decompressing = gzip if encoding == "gzip" else zstd.ZstdDecompressor(options=WINDOW)
    try:
        found = decompressing.decompress(body, MOST_BYTES + 1)
    except (zlib.error, zstd.ZstdError):
        raise Problem(400, f"expected {encoding}, as Content-Encoding says") from None
    if len(found) <= MOST_BYTES and (not decompressing.eof or decompressing.unused_data):
        raise Problem(400, f"expected {encoding}, one stream from its beginning to its end")
    return found


def _refuse(_: str) -> str:
    raise ValueError  # NaN and Infinity are no JSON


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
"""Numbers stay as they are written: they are read as those of a GET are."""


def _fields(line: bytes) -> dict[str, str]:
    """Return the fields of an alert; raise EntryError."""
    if len(line) > MOST_OF_LINE:
        raise EntryError(f"expected at most {MOST_OF_LINE} bytes")
    try:
        fields = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        raise EntryError("expected an alert as a JSON object on one line, in UTF-8") from None
    if type(fields) is not dict or any(type(value) is not str for value in fields.values()):
        raise EntryError("expected an object of texts and numbers")
    if len(fields) > MOST_PARAMETERS:
        raise EntryError(f"expected at most {MOST_PARAMETERS} names")
    if b"\\u" in line and not _is_text("".join([*fields, *fields.values()])):
        raise EntryError("expected text: half of a surrogate pair is none")
    return fields


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
