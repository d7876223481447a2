# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a destination that is behind its rate is not sent: episodes that began and ended before it was their turn.

Their alerts become one, a summary: the `cleared` of the worst of them, which says how many episodes ended and how
many alerts are left out. If any alert of an episode may have been sent, none is left out: the receiver must hear of
the end. Folded alerts are left alone, several of them can begin one storm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.delivery.owed import body_of
from sockbpf.record.facts import Severity

if TYPE_CHECKING:
    from sockbpf.delivery.owed import Owed

SUMMARY = '"ended":"'
FOLDED = '"count":"'
"""The parts of a body by which these are known without parsing; no value of a field can contain them."""


class Meanwhile:
    """The episodes of a queue that began and ended and were not tried yet; for one thread at a time."""

    def __init__(self) -> None:
        self._sent: set[str] = set()
        """Episodes of which an alert was tried, by this monitor or perhaps by an earlier one."""
        self._ended: dict[str, int] = {}
        """Episode -> account."""
        self._summaries: dict[int, Owed] = {}
        """Account -> the summary that was not tried yet."""

    def offered(self, owed: Owed, first: Owed, *, earlier: bool) -> None:
        """Take note of an owed alert; `first` is the first that is owed of its episode.

        `earlier` says that an earlier monitor owed it, and may have sent it.
        """
        if earlier:
            self._sent.add(owed.episode)
        if owed.episode in self._sent or FOLDED in owed.body:
            return
        if SUMMARY in owed.body:
            self._summaries[owed.account] = owed
        elif owed.ends and first.begins:
            self._ended[owed.episode] = owed.account

    def tried(self, owed: Owed) -> None:
        """Take note that an alert is sent now."""
        self._sent.add(owed.episode)
        self._drop(owed)

    def forgotten(self, owed: Owed, *, is_last: bool) -> None:
        """Take note that an alert is not owed any more; `is_last` says that none of its episode is."""
        if is_last:
            self._sent.discard(owed.episode)
            self._drop(owed)

    def _drop(self, owed: Owed) -> None:
        self._ended.pop(owed.episode, None)
        if (known := self._summaries.get(owed.account)) and known.episode == owed.episode:
            del self._summaries[owed.account]

    def take(self) -> list[list[str]]:
        """Return for each account the episodes that become one summary; an earlier one becomes part of it."""
        accounts: dict[int, list[str]] = {}
        for episode, account in self._ended.items():
            accounts.setdefault(account, []).append(episode)
        for account, episodes in accounts.items():
            if account in self._summaries:
                episodes.append(self._summaries[account].episode)
        return [episodes for episodes in accounts.values() if len(episodes) > 1]


def summary_of(alerts: list[Owed], n: int) -> Owed:
    """Return the alert that stands for all alerts of these ended episodes, earlier summaries among them."""
    told = [(owed, owed.fields) for owed in alerts]
    ends = [(owed, fields) for owed, fields in told if owed.ends]
    worst, fields = max(ends, key=lambda end: _how_bad(end[1]))
    ended = sum(int(each.get("ended", "1")) for _, each in ends)
    unsent = sum(1 + int(each.get("unsent", "0")) for _, each in told) - 1
    body = body_of(fields | {"ended": str(ended), "unsent": str(unsent)})
    return replace(
        worst, n=n, body=body, made_s=alerts[-1].made_s, boot_s=max(owed.boot_s for owed in alerts)
    )


def _how_bad(fields: dict[str, str]) -> tuple[bool, float]:
    is_critical = fields.get("severity") == Severity.CRITICAL.value
    return is_critical, int(fields.get("peak", "0")) / max(1, int(fields.get("threshold", "1")))
