# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Google's client for BigQuery, its requests bounded as all of ours: by a deadline, without ~/.netrc."""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.utils import get_environ_proxies

from sockbpf.delivery.destinations.deadline import Deadline
from sockbpf.delivery.destinations.environment import bundle, check_bundle, check_proxy
from sockbpf.delivery.transport import UnusableError

if TYPE_CHECKING:
    from sockbpf.settings.destinations import BigQuerySettings

ENDPOINT = "https://bigquery.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/bigquery.insertdata",)
OF_MACHINE = ("http://169.254.169.254", "http://metadata.google.internal")
"""Where a machine in Google's cloud is asked for its credentials: never by a proxy."""

FRAMES = ("numpy", "pandas", "pyarrow")
"""Google's client imports them, where they are installed, for what is not asked of it here: 80 MiB of memory."""

MISSING = "the Python package google-cloud-bigquery is missing. Remedy: pip install 'sockbpf[bigquery]'"
NO_CREDENTIALS = (
    "there are no credentials for Google Cloud. Remedy: credentials: /path/of/a/key.json, "
    "or GOOGLE_APPLICATION_CREDENTIALS in the environment"
)


@dataclass(frozen=True, slots=True)
class Google:
    """Google's modules, and the exceptions of its client: with an answer, without one, for want of time."""

    bigquery: Any
    auth: Any
    service_account: Any
    answered: tuple[type[Exception], ...]
    unanswered: tuple[type[Exception], ...]
    timeouts: tuple[type[Exception], ...]


class _LeftOut(MetaPathFinder):
    """Finds no `FRAMES` for a thread that imports Google's client, as if they were not installed; for others it does.

    It stays where it is: a finder that is taken away has an import of another thread, under way, skip the next one.
    """

    def __init__(self) -> None:
        self.of = threading.local()

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> None:
        if fullname in FRAMES and getattr(self.of, "imports", False):
            raise ModuleNotFoundError(fullname, name=fullname)


_LEFT_OUT = _LeftOut()
sys.meta_path.insert(0, _LEFT_OUT)


def library() -> Google:
    """Return the modules. Raise UnusableError where they are not installed."""
    _LEFT_OUT.of.imports = True
    try:
        import google.auth
        import google.auth.transport.requests
        from google.api_core import exceptions
        from google.cloud import bigquery
        from google.oauth2 import service_account
    except ImportError:
        raise UnusableError(MISSING) from None
    finally:
        _LEFT_OUT.of.imports = False
    logging.getLogger("google.auth").setLevel(logging.ERROR)  # each try without credentials would warn
    auth_error = google.auth.exceptions.GoogleAuthError
    return Google(
        bigquery,
        google.auth,
        service_account,
        (exceptions.GoogleAPICallError,),
        # An answer that is no JSON, or no object, too.
        (
            *(exceptions.GoogleAPIError, auth_error, requests.RequestException, urllib3.exceptions.HTTPError),
            *(OSError, ValueError, TypeError, KeyError, AttributeError),
        ),
        (requests.Timeout, exceptions.RetryError),
    )


class Session:
    """A client, and what bounds its requests. For one thread."""

    def __init__(self, settings: BigQuerySettings) -> None:
        """Raise UnusableError if it cannot be made here. Nothing is asked of the network."""
        self._google = its = library()
        url = settings.endpoint or ENDPOINT
        self._credentials = _credentials(its, settings)
        tokens = requests.Session()
        self._ask = its.auth.transport.requests.Request(tokens)
        self._session = its.auth.transport.requests.AuthorizedSession(
            self._credentials, auth_request=self._ask
        )
        self.deadline = Deadline(self._session)
        for each in (self._session, tokens):
            for scheme in ("http://", "https://"):
                # The deadline is for what asks for a token too.
                each.mount(scheme, self._session.get_adapter(scheme))
            # With trust_env requests would send the login that ~/.netrc has for the host in place of the token.
            each.trust_env = False
            each.proxies = get_environ_proxies(url)
            each.verify = bundle() or True
        tokens.proxies.update(dict.fromkeys(OF_MACHINE, ""))
        check_bundle(url, bundle())
        check_proxy(self._session, url, self._session.proxies)
        self.client = its.bigquery.Client(
            project=settings.project,
            credentials=its.auth.credentials.AnonymousCredentials(),  # its requests are the session's
            _http=self._session,
            client_options={"api_endpoint": url} if settings.endpoint else None,
        )

    def log_in(self) -> None:
        """Find credentials where there are none yet, which may ask the machine. Raise UnusableError without any."""
        if self._credentials is None:
            try:
                self._credentials = self._google.auth.default(scopes=SCOPES, request=self._ask)[0]
            except (self._google.auth.exceptions.GoogleAuthError, OSError, ValueError):
                raise UnusableError(NO_CREDENTIALS) from None
            self._session.credentials = self._credentials

    def close(self) -> None:
        self.deadline.close_gently()
        self.client.close()


def _credentials(its: Google, settings: BigQuerySettings) -> Any:
    """Return the credentials; None if they are to be found later, as Google's libraries do. Raise UnusableError."""
    if settings.endpoint.startswith("http:"):
        return its.auth.credentials.AnonymousCredentials()
    if not settings.credentials:
        if (named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")) and not os.path.isfile(named):
            raise UnusableError(NO_CREDENTIALS)
        return None
    try:
        from_file = its.service_account.Credentials.from_service_account_file
        return from_file(str(settings.credentials), scopes=SCOPES)
    except (its.auth.exceptions.GoogleAuthError, OSError, ValueError):
        # Their text may hold some of the key.
        raise UnusableError("its credentials cannot be used") from None
