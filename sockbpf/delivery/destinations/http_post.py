# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The HTTP POST of a JSON value, where any answer 2xx means that it is delivered; or of bytes, for an answer."""

from __future__ import annotations

import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.utils import get_auth_from_url, get_environ_proxies

from sockbpf import __version__
from sockbpf.delivery.destinations.deadline import Deadline
from sockbpf.delivery.destinations.environment import bundle, check_bundle, check_proxy
from sockbpf.delivery.destinations.http_get import PERMANENT, drain, is_absent, plain_reason, retry_after_s
from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from sockbpf.settings.http import HttpOptions

REPEATED = frozenset({307, 308})
"""The redirects after which the same request is sent to another place; all others would make a GET of it."""

REDIRECTS = 5

LEVEL = 1
"""Of gzip: a higher one takes twice the time, and makes what is a tenth of its size a little less."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered; `kind` is the media type of the body, in lower case, empty if it does not say."""

    status: int
    kind: str
    retry_after_s: float | None
    body: bytes | None
    """As it was sent; None if it is longer than what was to be kept of it."""


class _Kept:
    """A hook of requests that keeps an answer's body, at most `most` bytes, where `drain` throws it away."""

    def __init__(self, late: threading.Event, most: int) -> None:
        self._late = late
        self._most = most
        self.body: bytes | None = b""

    def __call__(self, response: requests.Response, *_: object, **__: object) -> None:
        read = b""
        with response:
            while len(read) <= self._most:
                more = response.raw.read(self._most + 1 - len(read), decode_content=False)
                if not more:
                    break
                read += more
        if self._late.is_set():  # what was cut in the middle looks as if it ended there
            raise requests.Timeout
        self.body = read if len(read) <= self._most else None


class HttpPost:
    """POSTs to `url` on connections that are kept alive; times are bounded as in HttpGet. Errors show `shown`.

    `post` follows no redirect: most of them would turn the POST into a GET, whose answer 2xx proves nothing.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        shown: str,
        options: HttpOptions | None = None,
        scheme: str = "Bearer",
        place: Callable[[], tuple[str, int]] | None = None,
    ) -> None:
        """Prepare the first request. Raise UnusableError if the environment does not allow one.

        `options` are headers, token and TLS; None: as they are by default. `scheme` says what the token is. `place`
        is as of HttpGet.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._shown = shown
        self._session = requests.Session()
        self._deadline = Deadline(self._session, place)
        # With trust_env requests would send the login that ~/.netrc has for the host. The rest of it is done below.
        self._session.trust_env = False
        self._session.headers["User-Agent"] = f"sockbpf/{__version__}"
        if any(login := get_auth_from_url(url)):
            self._session.auth = login  # else only the url itself has it, not a place that a redirect names
        ca_file = self._use(options, scheme) if options else None
        self._session.prepare_request(requests.Request("POST", url, json={}))
        self._verify = ca_file or bundle() or True
        self._proxies = {} if place else get_environ_proxies(url)
        if not ca_file:
            check_bundle(url, bundle())
        check_proxy(self._session, url, self._proxies)

    def _use(self, options: HttpOptions, scheme: str) -> str | None:
        """Have each request made with these options; return the file of authorities, if they name one."""
        # Not as Secret: older versions of requests take plain `str` only.
        self._session.headers.update({name: str(value) for name, value in options.headers.items()})
        if options.token:
            self._session.headers["Authorization"] = f"{scheme} {options.token}"
        files = [str(file) for file in (options.client_cert, options.client_key) if file]
        self._session.cert = (files[0], files[-1]) if files else None
        return str(options.ca_file) if options.ca_file else None

    def post(self, value: Any) -> None:
        """Return on 2xx. Raise TransportError on any other status and on every failure before an answer."""
        with self._bounded() as late:
            answer = self._send(self._url, partial(drain, late), json=value)
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004  the 2xx of HTTP
            raise TransportError(
                f"POST {self._shown}: answered {answer.status_code}",
                permanent=answer.status_code in PERMANENT,
                retry_after_s=retry_after_s(answer.headers.get("Retry-After"), time.time()),
            )

    def exchange(self, data: bytes, headers: Mapping[str, str], most: int, url: str = "") -> Answer:
        """Post bytes and return the answer, of its body at most `most` bytes. Raise TransportError if there is none.

        `url`, where given, is another one of the same receiver.
        What repeats the request elsewhere is followed within the host of the url, which alone gets token and headers.
        """
        url = url or self._url
        with self._bounded() as late:
            for _ in range(1 + REDIRECTS):
                kept = _Kept(late, most)
                answer = self._send(url, kept, data=data, headers=headers)
                to = str(answer.next.url) if answer.status_code in REPEATED and answer.next else ""
                if not to or self._session.should_strip_auth(url, to):  # type: ignore[no-untyped-call]
                    break
                url = to
        return _answer(answer, kept)

    def read(self, url: str, headers: Mapping[str, str], most: int) -> Answer:
        """Get another url of the same receiver, following no redirect; as `exchange` otherwise."""
        with self._bounded("GET") as late:
            kept = _Kept(late, most)
            answer = self._send(url, kept, "GET", headers=headers)
        return _answer(answer, kept)

    def close(self) -> None:
        self._deadline.close_gently()
        self._session.close()

    @contextmanager
    def _bounded(self, method: str = "POST") -> Iterator[threading.Event]:
        """Bound a request by the timeout, and make a TransportError of every failure before an answer."""
        try:
            with self._deadline.bounded(self._timeout_s) as late:
                try:
                    yield late
                except (
                    requests.RequestException,
                    urllib3.exceptions.HTTPError,
                    OSError,
                    ValueError,
                ) as error:
                    timed_out = late.is_set() or isinstance(error, requests.Timeout)
                    reason = f"no answer within {self._timeout_s:g} s" if timed_out else plain_reason(error)
                    # From None: the text of the cause would show the URL.
                    absent = is_absent(self._url, error)
                    raise TransportError(f"{method} {self._shown}: {reason}", absent=absent) from None
        finally:
            self._session.cookies.clear()

    def _send(self, url: str, hook: Any, method: str = "POST", **what: Any) -> requests.Response:
        return self._session.request(
            method,
            url,
            hooks={"response": hook},
            allow_redirects=False,
            stream=True,
            timeout=self._timeout_s,
            proxies=self._proxies,
            verify=self._verify,
            **what,
        )


def _answer(answer: requests.Response, kept: _Kept) -> Answer:
    return Answer(
        answer.status_code,
        answer.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        retry_after_s(answer.headers.get("Retry-After"), time.time()),
        kept.body,
    )


def gzipped(data: bytes) -> bytes:
    """Return bytes as the content encoding gzip has them."""
    compressing = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)
    return compressing.compress(data) + compressing.flush()
