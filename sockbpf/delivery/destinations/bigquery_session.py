# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Google's client for BigQuery, its requests bounded as all of ours: by a deadline, without ~/.netrc."""

from __future__ import annotations

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


def client(settings: BigQuerySettings) -> tuple[Any, Deadline]:
    """Return a client, and what bounds its requests. Raise UnusableError if it cannot be made here."""
    its = library()
    url = settings.endpoint or ENDPOINT
    credentials = _credentials(its, settings)
    tokens = requests.Session()
    session = its.auth.transport.requests.AuthorizedSession(
        credentials, auth_request=its.auth.transport.requests.Request(tokens)
    )
    deadline = Deadline(session)
    for each in (session, tokens):
        for scheme in ("http://", "https://"):
            each.mount(scheme, session.get_adapter(scheme))  # the deadline is for what asks for a token too
        # With trust_env requests would send the login that ~/.netrc has for the host in place of the token.
        each.trust_env = False
        each.proxies = get_environ_proxies(url)
        each.verify = bundle() or True
    check_bundle(url, bundle())
    check_proxy(session, url, session.proxies)
    made = its.bigquery.Client(
        project=settings.project,
        credentials=credentials,
        _http=session,
        client_options={"api_endpoint": url} if settings.endpoint else None,
    )
    return made, deadline


def _credentials(its: Google, settings: BigQuerySettings) -> Any:
    if settings.endpoint.startswith("http:"):
        return its.auth.credentials.AnonymousCredentials()
    try:
        if settings.credentials:
            from_file = its.service_account.Credentials.from_service_account_file
            return from_file(str(settings.credentials), scopes=SCOPES)
        return its.auth.default(scopes=SCOPES)[0]
    except (its.auth.exceptions.GoogleAuthError, OSError, ValueError):
        # Their text may hold some of the key.
        raise UnusableError(
            "its credentials cannot be used" if settings.credentials else NO_CREDENTIALS
        ) from None
