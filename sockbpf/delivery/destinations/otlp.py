# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver of OTLP, such as an OpenTelemetry collector: each alert is a record of a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.otlp_post import OtlpPost, RefusedError, wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sockbpf.settings.destinations import OtlpSettings


class Otlp:
    """Sends alerts as log records, many in a request; a batch that is not full waits `wait_s` for more."""

    most = 512
    wait_s = 0.1

    def __init__(self, settings: OtlpSettings) -> None:
        """Prepare the first request. Raise UnusableError if none can be made here."""
        self._wire = wire()
        self._post = OtlpPost(settings, "/v1/logs")
        self._resource = settings.resource

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Post the alerts; return of those that the receiver refused the place and the reason. Raise TransportError.

        If the receiver refuses some, it says how many but not which: so many at the end are counted for them.
        """
        request = self._wire.logs_request(alerts, self._resource, time.time_ns())
        try:
            rejected, said = self._post.send(request)
        except RefusedError as refused:
            if not (refused.permanent and refused.whole):
                raise
            return dict.fromkeys(range(len(alerts)), str(refused))
        rejected = min(rejected, len(alerts))
        if not rejected:
            return {}
        which = "" if rejected == len(alerts) else ", it does not say which"
        reason = f"the receiver refused {rejected} of {len(alerts)} alerts of a request{which}: {said}"
        return dict.fromkeys(range(len(alerts) - rejected, len(alerts)), reason)

    def close(self) -> None:
        self._post.close()
