"""The HTTP GET: the alert as query parameters, any 2xx is delivered."""

from __future__ import annotations

import http.client
import logging
import os
import ssl
import time
from contextlib import suppress
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from sockbpf import __version__
from sockbpf.alert import parameters
from sockbpf.delivery.deadline import Deadline
from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    import threading

    from sockbpf.alert import Alert

BODY_BYTES = 64 * 1024
"""The most of an answer's body that is read; it is read only so that the connection can serve again."""

PERMANENT = frozenset({400, 401, 403, 404, 410, 422})
"""The statuses that say: this request, as it is, will never do."""

# urllib3 writes whole URLs into its warnings and debug lines, query and all.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def redacted(url: str) -> str:
    """Return `scheme://host:port/path`, the URL without what may be secret: userinfo, query, fragment."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(unreadable URL)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"


def retry_after_s(value: str | None, now: float) -> float | None:
    """Return the seconds a Retry-After header asks for: it holds seconds or an HTTP-date, `now` is Unix time.

    None when there is no header or it makes no sense; a date gone by is 0.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(0.0, when.timestamp() - now)


def plain_reason(error: BaseException) -> str:
    """Return the error's class and what the system said of its cause.

    The text of the errors of requests and urllib3 is never used: it holds the URL.
    """
    name, cause = type(error).__name__, _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{name}: certificate refused, {cause.verify_message}"
    if isinstance(cause, http.client.RemoteDisconnected):
        return f"{name}: connection closed without an answer"
    if isinstance(cause, http.client.HTTPException):
        return f"{name}: not an HTTP answer"
    if isinstance(cause, OSError) and cause.strerror:
        return f"{name}: {cause.strerror}"
    return name


def _cause(error: BaseException) -> BaseException | None:
    """Return the innermost error that the system, TLS or HTTP raised, None when only libraries spoke."""
    found, at = None, error.__cause__ or error.__context__
    while at is not None:
        foreign = isinstance(at, (OSError, http.client.HTTPException))
        if foreign and not isinstance(at, (requests.RequestException, urllib3.exceptions.HTTPError)):
            found = at
        at = at.__cause__ or at.__context__
    return found


def _drain(response: requests.Response, *_: object, **__: object) -> None:
    """Read a short body to its end, so that the connection can serve again; else close the connection.

    What goes wrong here is no failure: the status has been said.
    """
    with suppress(urllib3.exceptions.HTTPError, OSError, ValueError), response:
        response.raw.read(BODY_BYTES + 1, decode_content=False)


class HttpGet:
    """GETs `url`, the alert's parameters behind its own query, on connections kept alive.

    `timeout_s` bounds the connecting, each read and the whole try, redirects and body included. Only what
    opens a connection may take longer, by bounds of its own: the name look-up (resolv.conf), each address
    of the name and the TLS handshake (`timeout_s` each). Proxies and CA bundles come from the environment,
    as is the custom with requests.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._deadline = Deadline(self._session)
        # With trust_env requests would send what ~/.netrc holds for the host; the rest of it is done in _get.
        self._session.trust_env = False
        self._session.headers["User-Agent"] = f"sockbpf/{__version__}"

    def send(self, alert: Alert) -> None:
        """Return on 2xx. Raise TransportError on any other status and on every failure on the way to one."""
        try:
            with self._deadline.bounded(self._timeout_s) as late:
                answer = self._follow(alert, late)
        finally:
            # A receiver that sets ever new cookies must not fill the memory.
            self._session.cookies.clear()
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004  the 2xx of HTTP
            raise TransportError(
                f"GET {redacted(answer.url)}: answered {answer.status_code}",
                permanent=answer.status_code in PERMANENT,
                retry_after_s=retry_after_s(answer.headers.get("Retry-After"), time.time()),
            )

    def close(self) -> None:
        self._deadline.close_gently()
        self._session.close()

    def _follow(self, alert: Alert, late: threading.Event) -> requests.Response:
        """Return the last answer of the redirects.

        They are followed one by one and not by requests, which reads their bodies without a bound.
        """
        url = self._url
        try:
            request: requests.PreparedRequest | None = self._session.prepare_request(
                requests.Request("GET", url, params=parameters(alert), hooks={"response": _drain})
            )
            for _ in range(1 + self._session.max_redirects):
                if request is None:
                    break
                url = str(request.url)
                answer = self._get(request)
                request = answer.next
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            timed_out = late.is_set() or isinstance(error, requests.Timeout)
            reason = f"no answer within {self._timeout_s:g} s" if timed_out else plain_reason(error)
            # Not even as the cause: its text holds the URL.
            raise TransportError(f"GET {redacted(url)}: {reason}") from None
        if request is not None:
            raise TransportError(f"GET {redacted(url)}: more than {self._session.max_redirects} redirects")
        return answer

    def _get(self, request: requests.PreparedRequest) -> requests.Response:
        return self._session.send(
            request,
            allow_redirects=False,
            stream=True,
            timeout=self._timeout_s,
            proxies=get_environ_proxies(str(request.url)),
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
        )
