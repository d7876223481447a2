# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a hostile client sends: requests as bytes, by chance but the same ones of the same seed."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, urlencode

from tests.store.serving import told

Chance = random.Random

MARK = "<script>alert(document.domain)</script>"

TEXTS = (
    MARK, '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "${7*7}{{7*7}}%n%s%x",
    "'; drop table entry; --", "' or '1'='1", "1); delete from entry where (1=1", "\\'; select pg_sleep(60); --",
    "1 union select body from entry", "') or sleep(60)='", "*", "%", "_%", "../../../../etc/passwd",
    "\0", "a\0b", "\r\nX-Injected: 1\r\n\r\n", "\x1b[31m", "\u202e", "\ufeff", "\U0001f980" * 30, "é" * 300, "",
    " ", "null", "true", "NaN", "Infinity", "-Infinity", "nan", "1e400", "-1", "0x10", "1_000", "٣٤", "9" * 19,
    "9" * 400, str(2**63), str(2**63 - 1), str(2**64), "0." + "1" * 300, "-0", "+1", "1e308", "1 ", "1\n",
    "9999-12-31T23:59:59.999999+00:00", "0001-01-01T00:00:00+23:59", "2026-13-45", "24:00", "1970-01-01T00:00:00Z[",
    "::", "::1", "fe80::1%eth0", "fe80::1%\0", "::ffff:1.2.3.4", "1.2.3.4/0", "0.0.0.0/0", "::/0", "1.2.3.4/33",
    "::/129", "256.1.1.1", "1.2.3", "[::1]", "30d", "-30d", "1" * 18 + "d", "0.000000000000000001ms", "AAAA",
    "QNrAAAAAAAAAAAAAAAAAAQ", "f_gAAAAAAAB__________w", "==", "\ud7ff", "x" * 5000,
)  # fmt: skip
"""What makes somebody stumble: SQL, HTML, terminals, files, numbers, times, addresses, cursors."""

RAW = (
    b"%ff%fe", b"%c0%80", b"%ed%a0%80", b"%", b"%zz", b"%00", b"\xff\xfe", b"%u0000", b"+", b"%0d%0a",
    b"%f4%90%80%80",
)  # fmt: skip
"""Values that are no UTF-8, or are not encoded at all."""

PATHS = (
    "/alert",
    "/alerts",
    "/store.json",
    "/episodes",
    "/stream",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/",
)
OTHER_PATHS = (
    "//", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/index.html%00.js", "/" + "a" * 3000,
    "/" + "a/" * 1000, "/store.json/", "/alert/../store.json", "/%ff", "/\\", "/page/", "/.", "/%2f%2f",
    "/store.JSON",
)  # fmt: skip
METHODS = (
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "BREW", "G\0T",
)  # fmt: skip
FILTERS = (
    "from", "to", "protocol", "type", "ip", "port", "cidr", "host", "pid", "comm", "min_size", "event", "id",
    "limit", "cursor", "open", "sort", "before", "older_than", "timestamp", "any",
)  # fmt: skip
HEADERS = (
    "Last-Event-ID", "Accept", "Content-Type", "Content-Length", "Transfer-Encoding", "Host", "Origin", "Range",
    "Sec-Fetch-Site", "Authorization", "Expect", "Connection", "Upgrade", "If-None-Match", "If-Modified-Since",
    "Cookie", "Content-Encoding", "Accept-Encoding", "X-Forwarded-For",
)  # fmt: skip
TYPES = (
    "application/json", "text/csv", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
    "application/json; charset=utf-16", "", "\x7f", "application/xml", "text/csv; header=absent",
)  # fmt: skip


def value(chance: Chance) -> bytes:
    """Return a value of a query, encoded, or not as it should be."""
    if chance.random() < 0.15:
        return chance.choice(RAW)
    return quote_from_bytes(chance.choice(TEXTS).encode(errors="surrogatepass")).encode()


def request(
    target: bytes, *headers: tuple[str, str], method: str = "GET", body: bytes = b"", host: str = "127.0.0.1"
) -> bytes:
    lines = [f"{method} ".encode() + target + b" HTTP/1.1", b"Host: " + host.encode()]
    lines += [f"{name}: {text}".encode("latin-1", "replace") for name, text in headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def alert(chance: Chance) -> bytes:
    """Return an alert with one field or more replaced, or too many, or too long ones."""
    fields = told(chance.randrange(10**6), host="hostile")
    pairs = [f"{name}={text}".encode() for name, text in fields.items() if chance.random() < 0.97]
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
        name = chance.choice([*fields, "count", "worst", "x", MARK, "", "event"])
        pairs.append(quote_from_bytes(name.encode()).encode() + b"=" + value(chance))
    kind = chance.random()
    if kind < 0.02:
        pairs += [b"p%d=1" % number for number in range(chance.choice((20, 63, 64, 5000)))]
    elif kind < 0.04:
        pairs.append(b"comm=" + b"y" * chance.choice((15_000, 20_000, 60_000, 70_000, 200_000)))
    elif kind < 0.05:
        pairs.append(chance.choice((b"&&&&", b"=", b"=x", b"lonely", b";a=b")))
    return request(b"/alert?" + b"&".join(pairs))


def search(chance: Chance) -> bytes:
    path = chance.choice((b"/store.json", b"/store.json", b"/episodes"))
    names = [chance.choice(FILTERS) for _ in range(chance.choice((1, 1, 2, 3, 30)))]
    pairs = [name.encode() + b"=" + value(chance) for name in names]
    accept = chance.choice(("*/*", "text/csv", "application/json", "text/html", "\x7f"))
    return request(path + b"?" + b"&".join(pairs), ("Accept", accept))


def thing(chance: Chance, depth: int = 0) -> object:
    """Return something that JSON can say."""
    kind = chance.randrange(9 if depth < 4 else 6)
    scalars: tuple[object, ...] = (
        chance.choice(TEXTS), chance.randrange(-(2**70), 2**70), chance.random() * 10 ** chance.randrange(300),
        None, chance.random() < 0.5, "\ud800" + chance.choice(TEXTS),
    )  # fmt: skip
    if kind < 6:
        return scalars[kind]
    if kind == 6:
        return [thing(chance, depth + 1) for _ in range(chance.randrange(5))]
    names = [*told(1), *FILTERS, *TEXTS, "\ud800"]
    return {chance.choice(names): thing(chance, depth + 1) for _ in range(chance.randrange(8))}


def body(chance: Chance) -> bytes:
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: json.dumps(thing(chance)).encode(),
        lambda: json.dumps([{"host": "hostile", **told(1), "x": thing(chance)} for _ in range(3)]).encode(),
        lambda: json.dumps({name: thing(chance) for name in told(1)}).encode(),
        lambda: b"[" * chance.choice((10, 1000, 100_000)),
        lambda: b'{"a":' * 5000 + b"1" + b"}" * 5000,
        lambda: b'{"a":' + b"9" * chance.choice((300, 5000)) + b"}",
        lambda: b'{"timestamp":' + chance.choice((b"1e999", b"-5", b"NaN", b"Infinity", b"true", b"[]")) + b"}",
        lambda: b"[" + b"{}," * chance.choice((100, 10_000)) + b"{}]",
        lambda: b'{"a":"\xff\xfe\xed\xa0\x80"}',
        lambda: b"\xef\xbb\xbf{}",
        lambda: chance.randbytes(chance.choice((1, 100, 10_000))),
        lambda: b"a,b\n" + b"\0,1\n" * 3,
        lambda: b"a,b\n" + b",".join([b'"' * 1000] * 2),
        (MARK + ",b\n=1+1," + MARK + "\n").encode,
        lambda: b",".join(b"h%d" % n for n in range(3000)) + b"\n" + b",".join([b"1"] * 3000),
        lambda: b"x" * 200_000,
    )  # fmt: skip
    return chance.choice(kinds)()


def post(chance: Chance) -> bytes:
    return request(b"/store.json", ("Content-Type", chance.choice(TYPES)), method="POST", body=body(chance))


def batch(chance: Chance) -> bytes:
    """Return a batch of lines, compressed, or said to be."""
    lines = b"\n".join(body(chance) for _ in range(chance.choice((1, 2, 9))))
    coded = chance.choice(
        (lines, gzip.compress(lines, 1), zlib.compress(lines), lines[:9] + gzip.compress(lines, 1))
    )
    encoding = (
        "Content-Encoding",
        chance.choice(("gzip", "gzip", "zstd", "identity", "br", "gzip, gzip", "\x7f")),
    )
    return request(b"/alerts", encoding, method="POST", body=coded)


def chunked(chance: Chance) -> bytes:
    """Return a body in chunks, most of them broken."""
    chunks = chance.choice(
        (
            b"2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\nX: y\r\nHost: evil\r\n\r\n", b"zz\r\n{}\r\n0\r\n\r\n",
            b"-1\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffff\r\n{}", b"fffffffffffffffff\r\n{}",
            b"2;" + b"e" * 70_000 + b"\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            b"2\n{}\n0\n\n", b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n" + b"T: t\r\n" * 20_000 + b"\r\n",
        )
    )  # fmt: skip
    more = chance.choice(((), (("Content-Length", "2"),), (("Transfer-Encoding", "gzip"),)))
    codings = chance.choice(
        ("chunked", "chunked, chunked", "identity", "gzip, chunked", "Chunked", "chunked\x0b")
    )
    headers = [("Content-Type", "application/json"), ("Transfer-Encoding", codings), *more]
    return request(b"/store.json", *headers, method="POST") + chunks


def odd_header(chance: Chance) -> bytes:
    texts = [*TEXTS, "chunked", "0", "-1", "1e5", "10485761", "99999999999999999999", "close, upgrade",
             "websocket",
             "Bearer x", "http://[", "//[",
             "bytes=0-,-1,5-1", "[::1", "127.0.0.1:99999999", "100-continue"]  # fmt: skip
    chosen = [(chance.choice(HEADERS), chance.choice(texts)) for _ in range(chance.randrange(1, 4))]
    kind = chance.random()
    if kind < 0.05:
        chosen += [(f"X-{number}", "y") for number in range(3000)]
    elif kind < 0.1:
        chosen.append(("X-Long", "z" * chance.choice((9000, 40_000, 300_000))))
    elif kind < 0.15:
        chosen.append(("X" * 9000, "z"))
    method = chance.choice(("GET", "GET", "POST", "DELETE"))
    return request(chance.choice(PATHS).encode(), *chosen, method=method)


def odd_line(chance: Chance) -> bytes:
    path = chance.choice((*PATHS, *OTHER_PATHS)).encode()
    kind = chance.randrange(8)
    if kind < 4:
        return request(path, method=chance.choice(METHODS))
    lines = (
        path + b"\r\n\r\n", b"GET " + path + b" HTTP/9.9\r\n\r\n", b"GET " + path + b" HTTP/1.0\r\n\r\n",
        b"GET http://evil" + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc" * 9,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\0" * 100,
        b"GET  " + path + b" HTTP/1.1\r\n\r\n", b"GET " + path + b"#x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /" + chance.randbytes(30) + b" HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET " + path + b" HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"GET " + path + b" HTTP/1.1\r\n folded: x\r\n\r\n",
    )  # fmt: skip
    return chance.choice(lines)


def pipelined(chance: Chance) -> bytes:
    return b"".join(chance.choice((alert, search))(chance) for _ in range(chance.randrange(2, 9)))


def delete(chance: Chance) -> bytes:
    """Return a DELETE; none that would delete what is there."""
    pairs = chance.choice(
        (
            b"", b"before=nan", b"before=inf", b"before=-1", b"before=0&older_than=1d",
            b"older_than=" + b"9" * 17 + b"d",
            b"older_than=-1d", b"older_than=1y", b"before=0001-01-01", b"before=%00", b"x=1", b"before=-1e308",
            b"before=" + quote_from_bytes(b"'; drop table entry; --").encode(), b"before=0;delete",
        )
    )  # fmt: skip
    return request(b"/store.json?" + pairs, method="DELETE")


def noise(chance: Chance) -> bytes:
    """Return a good request with some bytes of it replaced, taken away or doubled."""
    text = bytearray(chance.choice((alert, search, post, chunked))(chance)[:3000])
    for _ in range(chance.randrange(1, 10)):
        at = chance.randrange(len(text))
        text[at : at + chance.randrange(3)] = chance.choice(
            (chance.randbytes(1), b"", b"\r\n", b"\n", b" ", b"\0", bytes(text[at : at + 20]))
        )
    return bytes(text)


KINDS: dict[Callable[[Chance], bytes], int] = {
    alert: 27, search: 24, post: 13, batch: 6, odd_header: 10, odd_line: 8, chunked: 4, pipelined: 4, delete: 2,
    noise: 2,
}  # fmt: skip
"""What is sent, and how often of a hundred times."""


@dataclass(frozen=True)
class Hostile:
    """What is sent, and what is to be known for reading the answers."""

    sent: bytes
    answers: int
    """As many, if all of it is understood."""
    goes_on: bool
    """Whether the connection can be used for the next one."""


def requests_of(seed: int, count: int) -> Iterator[Hostile]:
    chance = Chance(seed)
    for kind in chance.choices(list(KINDS), list(KINDS.values()), k=count):
        sent = kind(chance)
        answers = sent.count(b" HTTP/1.1\r\n") if kind is pipelined else 1
        yield Hostile(sent, answers, goes_on=kind in {alert, search, post})


def honest(number: int) -> bytes:
    """Return a good alert of another host."""
    return request(b"/alert?" + urlencode(told(number, host="honest")).encode())
