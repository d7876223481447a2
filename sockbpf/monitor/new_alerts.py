# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Makes alerts for the outbox, which numbers them: of this host, and of this run of the monitor."""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from sockbpf.delivery.outbox import NewAlert
from sockbpf.process.clock import boot_id
from sockbpf.record.alert import HEARTBEAT, Notice, alert_of, of_monitor
from sockbpf.record.event import account_of
from sockbpf.record.fields import parameters
from sockbpf.record.left import lefts_of_notice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.alert import Folded


class NewAlerts:
    """Makes alerts that have no `seq` yet."""

    def __init__(self, run: str) -> None:
        """`run` is the name of the monitor's run."""
        self._host = socket.gethostname()
        self._run = run
        self._boot = boot_id()

    def of_notice(self, notice: Notice | Folded, unix_offset_ns: int, *, is_kept: bool) -> NewAlert:
        """Return the alert of a notice; the offset is Unix time less CLOCK_MONOTONIC.

        `is_kept` says that a later run is to go on with what has not ended.
        """
        one = notice if isinstance(notice, Notice) else notice.notice

        def fields(seq: int) -> Mapping[str, str]:
            at = alert_of(notice, seq=seq, host=self._host, unix_offset_ns=unix_offset_ns, run=self._run)
            return parameters(at)

        account = account_of(one.socket.uid if one.socket else 0)
        left = partial(lefts_of_notice, notice, self._boot, unix_offset_ns)
        return NewAlert(f"{one.id}/{one.event}", account, fields, left=left if is_kept else None)

    def of_monitor(self, event: str, about: Mapping[str, object]) -> NewAlert:
        """Return an event about the monitor itself, with what is to be said about it."""
        unix_ns = time.time_ns()
        fields = partial(of_monitor, event, about, host=self._host, run=self._run, unix_ns=unix_ns)
        return NewAlert(f"{self._run}/{event}", 0, fields, numbered=event != HEARTBEAT)
