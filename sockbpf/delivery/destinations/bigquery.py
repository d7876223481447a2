# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A table of Google BigQuery, by Google's own client: each alert is a row, many in a request."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.bigquery_rows import insert_id, row
from sockbpf.delivery.destinations.bigquery_session import Session, library
from sockbpf.delivery.destinations.http_get import retry_after_s
from sockbpf.delivery.destinations.refusals import DoubtfulError, without_doubtful, without_refused
from sockbpf.delivery.destinations.values import cut
from sockbpf.delivery.transport import TransportError, UnusableError
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sockbpf.settings.destinations import BigQuerySettings

TOO_LARGE = 413
"""The status after which fewer rows may be taken; one that is alone never will be."""

BAD_REQUEST = 400
OF_CONTENT = frozenset({"invalid", "badRequest", "parseError"})
"""The reasons of a 400 that may lie in a row. They may lie in the table too, as one without columns, or a view."""

NO_TABLE = 404

INVALID = "invalid"
"""Why a row can never be inserted. For any other reason, as that another row of the request is invalid, it can be."""

REQUEST = re.compile(r"[A-Z]+ \S+: ")
"""How Google's client begins what an error says: with the method and the url."""

SAID_CHARACTERS = 300


class BigQuery:
    """Inserts alerts as rows, each with an insert id. Of a request with a row that cannot be, none is inserted.

    What is wrong with the table, with rights or with credentials is tried again: it can be mended meanwhile.
    """

    most = 500
    wait_s = 0.1

    def __init__(self, settings: BigQuerySettings) -> None:
        """Raise UnusableError if the key is of no use, and where Google's client is not installed.

        Credentials of the environment or the machine are found before the first request: that may take seconds.
        """
        self._google = library()
        self._session = Session(settings)
        self._timeout_s = settings.timeout
        self._table = f"{settings.project}.{settings.dataset}.{settings.table}"

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Insert the alerts; return of those that cannot be rows the place and the reason. Raise TransportError."""
        return without_doubtful(alerts, lambda some: without_refused(some, self._send))

    def close(self) -> None:
        self._session.close()

    def _send(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        return self._refused(self._inserted(alerts), len(alerts))

    def _inserted(self, alerts: Sequence[Mapping[str, str]]) -> Sequence[Any]:
        """Insert rows; return what is wrong with which, nothing if all are there. Raise TransportError."""
        rows = [row(fields) for fields in alerts]
        ids = [insert_id(fields) for fields in alerts]
        with self._session.deadline.bounded(self._timeout_s) as late:
            try:
                self._session.log_in()
                # A field that the table has no column for is left out: older tables lack those of later versions.
                errors: Sequence[Any] = self._session.client.insert_rows_json(
                    self._table,
                    rows,
                    row_ids=ids,
                    ignore_unknown_values=True,
                    retry=None,
                    timeout=self._timeout_s,
                )
            except self._google.answered as error:
                raise self._failed(error) from None
            except UnusableError as error:
                raise TransportError(f"bigquery {self._table}: {error}") from None
            except self._google.unanswered as error:
                timed_out = late.is_set() or isinstance(error, self._google.timeouts)
                reason = f"no answer within {self._timeout_s:g} s" if timed_out else _plain(error)
                raise TransportError(f"bigquery {self._table}: {reason}") from None
        return errors

    def _failed(self, error: Any) -> TransportError:
        status = error.code
        said = _shown(_reasons(error.errors) + REQUEST.sub("", error.message, count=1))
        if status == NO_TABLE:
            said = (
                f"there is no such table, or not yet: docs/bigquery.md has the command that makes it ({said})"
            )
        headers = getattr(error.response, "headers", {})
        reasons = {each.get("reason") for each in error.errors if isinstance(each, dict)}
        is_doubtful = status == BAD_REQUEST and reasons <= OF_CONTENT
        return (DoubtfulError if is_doubtful else TransportError)(
            f"bigquery {self._table}: answered {status}: {said}",
            permanent=status == TOO_LARGE,
            retry_after_s=retry_after_s(headers.get("Retry-After"), time.time()),
        )

    def _refused(self, errors: Sequence[Any], number: int) -> Mapping[int, str]:
        """Return which rows cannot be inserted. Raise TransportError if there are none, but errors."""
        refused: dict[int, str] = {}
        others: list[Any] = []
        try:
            for each in errors:
                why = {error["reason"]: error for error in each["errors"]}
                if each["index"] not in range(number):
                    raise ValueError("no row")  # noqa: TRY301  one error for what makes no sense
                if INVALID in why:
                    field, message = (str(why[INVALID].get(key, "")) for key in ("location", "message"))
                    refused[each["index"]] = f"bigquery refused the row: {_shown(f'{field}: {message}')}"
                others += why.values()
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TransportError(f"bigquery {self._table}: an answer that makes no sense") from None
        if errors and not refused:
            raise TransportError(
                f"bigquery {self._table}: rows were not inserted: {_shown(_reasons(others))}"
            )
        return refused


def _reasons(errors: Any) -> str:
    """Return the reasons that errors of the API have, such as rateLimitExceeded."""
    found = [str(each.get("reason")) for each in errors if isinstance(each, dict) and each.get("reason")]
    return "".join(f"{each}: " for each in dict.fromkeys(found))


def _shown(text: str) -> str:
    return cut(printable(text.strip().removesuffix(":")), SAID_CHARACTERS)


def _plain(error: Exception) -> str:
    """Return the error's class, and the innermost cause that the system or TLS gave; other texts hold urls."""
    at: BaseException | None = error
    found = ""
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            found = at.strerror
        at = at.__cause__ or at.__context__
    return f"{type(error).__name__}{f': {found}' if found else ''}"
