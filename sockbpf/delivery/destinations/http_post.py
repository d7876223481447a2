# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The HTTP POST of a JSON value; any answer 2xx means that it is delivered."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.utils import get_environ_proxies

from sockbpf import __version__
from sockbpf.delivery.destinations.deadline import Deadline
from sockbpf.delivery.destinations.environment import bundle, check_bundle, check_proxy
from sockbpf.delivery.destinations.http_get import PERMANENT, drain, is_absent, plain_reason, retry_after_s
from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    import threading

    from sockbpf.settings.http import HttpOptions


class HttpPost:
    """POSTs to `url` on connections that are kept alive; times are bounded as in HttpGet. Errors show `shown`.

    Redirects are not followed: most of them would turn the POST into a GET, whose answer 2xx proves nothing.
    """

    def __init__(self, url: str, timeout_s: float, *, shown: str, options: HttpOptions | None = None) -> None:
        """Prepare the first request. Raise UnusableError if the environment does not allow one.

        `options` are headers, token and TLS; None: as they are by default.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._shown = shown
        self._session = requests.Session()
        self._deadline = Deadline(self._session)
        # With trust_env requests would send the login that ~/.netrc has for the host. The rest of it is done below.
        self._session.trust_env = False
        self._session.headers["User-Agent"] = f"sockbpf/{__version__}"
        ca_file = self._use(options) if options else None
        self._session.prepare_request(requests.Request("POST", url, json={}))
        self._verify = ca_file or bundle() or True
        self._proxies = get_environ_proxies(url)
        if not ca_file:
            check_bundle(url, bundle())
        check_proxy(self._session, url, self._proxies)

    def _use(self, options: HttpOptions) -> str | None:
        """Have each request made with these options; return the file of authorities, if they name one."""
        # Not as Secret: older versions of requests take plain `str` only.
        self._session.headers.update({name: str(value) for name, value in options.headers.items()})
        if options.token:
            self._session.headers["Authorization"] = f"Bearer {options.token}"
        files = [str(file) for file in (options.client_cert, options.client_key) if file]
        self._session.cert = (files[0], files[-1]) if files else None
        return str(options.ca_file) if options.ca_file else None

    def post(self, value: Any) -> None:
        """Return on 2xx. Raise TransportError on any other status and on every failure before an answer."""
        try:
            with self._deadline.bounded(self._timeout_s) as late:
                try:
                    answer = self._post(value, late)
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
                    raise TransportError(f"POST {self._shown}: {reason}", absent=absent) from None
        finally:
            self._session.cookies.clear()
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004  the 2xx of HTTP
            raise TransportError(
                f"POST {self._shown}: answered {answer.status_code}",
                permanent=answer.status_code in PERMANENT,
                retry_after_s=retry_after_s(answer.headers.get("Retry-After"), time.time()),
            )

    def close(self) -> None:
        self._deadline.close_gently()
        self._session.close()

    def _post(self, value: Any, late: threading.Event) -> requests.Response:
        return self._session.post(
            self._url,
            json=value,
            hooks={"response": partial(drain, late)},
            allow_redirects=False,
            stream=True,
            timeout=self._timeout_s,
            proxies=self._proxies,
            verify=self._verify,
        )
