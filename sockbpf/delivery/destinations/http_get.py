# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The HTTP GET, with the alert as query parameters; any answer 2xx means that it is delivered."""

from __future__ import annotations

import http.client
import logging
import ssl
import time
from contextlib import suppress
from copy import copy
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from sockbpf import __version__
from sockbpf.delivery.destinations.deadline import Deadline
from sockbpf.delivery.destinations.environment import bundle, check_bundle, check_proxy
from sockbpf.delivery.transport import TransportError, is_here
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from sockbpf.settings.destinations import HttpSettings

BODY_BYTES = 64 * 1024
"""The most of an answer's body that is read; it is read only so that the connection can be used again."""

AGENT = f"sockbpf/{__version__}"

ORIGINS = 64
"""How many hosts' proxies are remembered at once: a receiver may redirect to new hosts without end."""

PERMANENT = frozenset({400, 401, 403, 404, 410, 422})
"""The statuses after which the same request can never succeed."""

# urllib3 writes whole URLs into its warnings and debug lines, query and all.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def redacted(url: str, *, path: bool = True) -> str:
    """Return `scheme://host:port/path`, the URL without what may be secret: userinfo, query, fragment.

    Without `path` that is left out too, for a URL that is a secret as a whole.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(unreadable URL)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path if path else '/...'}"


def retry_after_s(value: str | None, now: float) -> float | None:
    """Return the seconds a Retry-After header asks for: it holds seconds or an HTTP-date, `now` is Unix time.

    None when there is no header or it makes no sense; a date in the past gives 0.
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
    """Return the error's class and the system's own text of its cause.

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
    if type(error) is OSError:  # only requests raises that itself, for a path that leads to no file
        return f"{name}: a certificate, key or CA file is not there"
    return name


def _cause(error: BaseException) -> BaseException | None:
    """Return the innermost error that the system, TLS or HTTP raised, None if only libraries raised any."""
    found, at = None, error.__cause__ or error.__context__
    while at is not None:
        foreign = isinstance(at, (OSError, http.client.HTTPException))
        if foreign and not isinstance(at, (requests.RequestException, urllib3.exceptions.HTTPError)):
            found = at
        at = at.__cause__ or at.__context__
    return found


def is_absent(url: str, error: BaseException) -> bool:
    """Return whether the url leads to this host, and no process listens there."""
    return is_here(urlsplit(url).hostname or "") and isinstance(_cause(error), ConnectionRefusedError)


def drain(late: threading.Event, response: requests.Response, *_: object, **__: object) -> None:
    """Read a short body to its end, so that the connection can be used again; else close the connection.

    An error here is no failure, since the status is known. But if the time was up before (`late`), it is one: an
    answer that was cut in the middle of its headers looks as if the headers ended there.
    """
    if late.is_set():
        raise requests.Timeout
    with suppress(urllib3.exceptions.HTTPError, OSError, ValueError), response:
        response.raw.read(BODY_BYTES + 1, decode_content=False)


class HttpGet:
    """GETs the `url` of its settings, the alert's parameters after the url's own, on connections that are kept alive.

    The timeout bounds the connecting, each read and the whole try, redirects and body included. Only what
    opens a connection may take longer, by bounds of its own: the name look-up (resolv.conf), each address
    of the name and the TLS handshake (the timeout each). Proxies and CA bundles come from the environment,
    as with requests itself; the environment is read once, here or when a redirect first leads to a host.

    Headers, token, password and client certificate are for the scheme, host and port of `url`: what a redirect
    leads to elsewhere gets none of them. To requests port 443 of a host is the same place as port 80.
    """

    def __init__(self, settings: HttpSettings, place: Callable[[], tuple[str, int]] | None = None) -> None:
        """Prepare the first request. `place`, where given, returns the address and port that everything is sent to.

        As long as there is none, it raises TransportError. Raise UnusableError if the environment allows no request.
        """
        self._settings = settings
        self._place = place
        self._session = requests.Session()
        self._deadline = Deadline(self._session, place)
        # With trust_env requests would send the login that ~/.netrc has for the host. What else it does is done here.
        self._session.trust_env = False
        self._session.headers["User-Agent"] = AGENT
        # Not as Secret: older versions of requests take plain `str` only.
        self._session.headers.update({name: str(value) for name, value in settings.headers.items()})
        if settings.token:
            self._session.headers["Authorization"] = f"Bearer {settings.token}"
        self._verify = str(settings.ca_file) if settings.ca_file else bundle() or True
        files = [str(file) for file in (settings.client_cert, settings.client_key) if file]
        self._cert = (files[0], files[-1]) if files else None
        self._proxies = lru_cache(ORIGINS)(_no_proxies if place else get_environ_proxies)
        self._request = self._session.prepare_request(requests.Request("GET", str(settings.url)))
        if not settings.ca_file:
            check_bundle(str(self._request.url), bundle())
        check_proxy(self._session, str(self._request.url), self._proxies(_origin(self._request)))

    def send(self, fields: Mapping[str, str]) -> None:
        """Return on 2xx. Raise TransportError on any other status and on every failure before an answer."""
        if self._place:
            self._place()
        try:
            with self._deadline.bounded(self._settings.timeout) as late:
                answer = self._follow(fields, late)
        finally:
            # A receiver that sets ever new cookies must not fill the memory.
            self._session.cookies.clear()
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004  the 2xx of HTTP
            raise TransportError(
                f"GET {self._shown(answer.url)}: answered {answer.status_code}",
                permanent=answer.status_code in PERMANENT,
                retry_after_s=retry_after_s(answer.headers.get("Retry-After"), time.time()),
            )

    def close(self) -> None:
        self._deadline.close_gently()
        self._session.close()

    def _shown(self, url: str) -> str:
        return redacted(url, path=not isinstance(self._settings.url, Secret))

    def _follow(self, fields: Mapping[str, str], late: threading.Event) -> requests.Response:
        """Return the answer after all redirects.

        They are followed here and not by requests, which reads their bodies without a bound.
        """
        request = copy(self._request)
        request.hooks = {
            "response": [partial(drain, late)]
        }  # the requests to which it is redirected have them too
        url = str(request.url)
        cert = self._cert
        try:
            request.url = url + ("&" if "?" in url else "?") + urlencode(fields)
            for _ in range(1 + self._session.max_redirects):
                url = str(request.url)
                answer = self._get(request, cert)
                if answer.next is None:
                    return answer
                request = answer.next
                # The request before may have gone through a proxy where this one will not; the adapter adds
                # the header where a proxy wants it.
                request.headers.pop("Proxy-Authorization", None)
                if self._session.should_strip_auth(url, str(request.url)):  # type: ignore[no-untyped-call]
                    cert = None
                    self._strip(request)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            timed_out = late.is_set() or isinstance(error, requests.Timeout)
            reason = f"no answer within {self._settings.timeout:g} s" if timed_out else plain_reason(error)
            # From None: the text of the cause would show the URL.
            absent = is_absent(url, error)
            raise TransportError(f"GET {self._shown(url)}: {reason}", absent=absent) from None
        raise TransportError(f"GET {self._shown(url)}: more than {self._session.max_redirects} redirects")

    def _strip(self, request: requests.PreparedRequest) -> None:
        """Remove the headers that another host must not see; requests itself removes Authorization only."""
        for name in ("Authorization", *self._settings.headers):
            request.headers.pop(name, None)
        request.headers.setdefault("User-Agent", AGENT)

    def _get(self, request: requests.PreparedRequest, cert: tuple[str, str] | None) -> requests.Response:
        return self._session.send(
            request,
            allow_redirects=False,
            stream=True,
            timeout=self._settings.timeout,
            proxies=self._proxies(_origin(request)),
            verify=self._verify,
            cert=cert,
        )


def _no_proxies(_origin: str) -> dict[str, str]:
    return {}


def _origin(request: requests.PreparedRequest) -> str:
    parts = urlsplit(str(request.url))
    return f"{parts.scheme}://{parts.netloc}"
