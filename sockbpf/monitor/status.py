# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The status of the running monitor: what it watches by, what is over now, what it owes, what it has lost.

docs/status.md says what each key means. The loop's thread makes it, when it is asked for, of what it has in memory.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from sockbpf import __version__
from sockbpf.counters import LOSSES
from sockbpf.judge.episodes import notice_of
from sockbpf.judge.open_now import open_now
from sockbpf.monitor.standing import Watching
from sockbpf.process.clock import monotonic_ns, monotonic_s
from sockbpf.process.life import late
from sockbpf.record.alert import ONGOING, alert_of, seconds_text
from sockbpf.record.field import Kind
from sockbpf.record.fields import BY_NAME, parameters
from sockbpf.record.labels import text_of
from sockbpf.settings.fields import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import Episodes
    from sockbpf.judge.open_now import OpenNow
    from sockbpf.judge.rates import Rates
    from sockbpf.kernel.attach.probes import Probes
    from sockbpf.monitor.causes import Causes
    from sockbpf.monitor.dispatch import Dispatch
    from sockbpf.monitor.losses import Losses
    from sockbpf.monitor.naming import Naming
    from sockbpf.monitor.reload import Reload
    from sockbpf.monitor.rules import Rules
    from sockbpf.monitor.schedule import Schedule
    from sockbpf.monitor.silencing import Silencing
    from sockbpf.record.alert import Notice

MOST_QUEUES = 100
"""So many open episodes are shown, the worst."""

MOST_DESTINATIONS = 100
"""So many destinations are shown, those that are owed most."""

LOOKS_LATE = 4
OLD_LOOK_S = 60.0
"""A look is old after so many intervals without another, and after so many seconds at least."""

ALL = "all"
"""What no hook sees where there are none."""

NOT_SHOWN = frozenset({"timestamp", "event", "seq", "host"})
"""Fields of an alert that an open episode does not have: no alert is made of it."""


@dataclass(kw_only=True, eq=False)
class Status:
    """The parts of the monitor that are asked. For the loop's thread."""

    run: str
    probes: Probes | None
    no_hooks: str
    """Why there are no hooks; empty if there are, or if the settings want none."""
    look: str
    """How all sockets are looked at."""
    queues: tuple[Episodes, ...]
    """The open episodes of those judges that know the rules."""
    listeners: tuple[Episodes, ...]
    """Those of listeners, whose rules are asked for here."""
    rates: Rates
    causes: Causes
    naming: Naming
    silencing: Silencing
    rules: Rules
    settings: Reload
    schedule: Schedule
    dispatch: Dispatch
    losses: Losses
    counters: Counters
    started_s: float = field(default_factory=time.time)
    """Unix time."""

    def now(self) -> dict[str, Any]:
        """Return the status of this moment."""
        self.losses.count()
        counts = self.counters.snapshot()
        is_armed = self.schedule.looked_s > 0
        return {
            **self._who(),
            "state": "watching" if is_armed else "starting",
            "blind": self._blind() if is_armed else [],
            **self._watches_by(),
            **self._settings(),
            **self._open(monotonic_ns()),
            **self._owed(),
            "silences": self.silencing.silences.told(),
            "silenced": len(self.silencing.untold),
            "lost": sum(counts[name] for name in LOSSES),
            "losses": {name: counts[name] for name in LOSSES if counts[name]},
            "counters": counts,
        }

    def about(self) -> dict[str, object]:
        """Return what is said of this run as it starts to watch, and with each heartbeat.

        A receiver learns from it how long it may hear nothing of what is still over, and of the monitor.
        """
        watches_by = self._watches_by()
        config = self.settings.config
        repeats_s = [rule.repeat for rule in config.rules if rule.repeat is not None]
        longest_s = max(config.repeat, *repeats_s) if repeats_s else config.repeat
        lost_ago_s = self.losses.lost_ago_s()
        return {
            "version": __version__,
            "kernel": os.uname().release,
            "mode": watches_by["mode"],
            "unseen": "; ".join(watches_by["unseen"]),
            "repeat": longest_s if ONGOING in config.events else 0,
            "heartbeat": config.heartbeat,
            "open_episodes": sum(len(each.open) for each in (*self.queues, *self.listeners)),
            **({"labels": text_of(config.labels)} if config.labels else {}),
            **({"silences": silences} if (silences := self.silencing.silences.summary()) else {}),
            **({} if lost_ago_s is None else {"lost_ago": round(lost_ago_s, 3)}),
        }

    def watching(self) -> Watching:
        """Return what it watches by; for any thread."""
        by = self._watches_by()
        is_blind = by["looked"] is not None and bool(self._blind())
        sights = self.probes.sights if self.probes else ()
        missing = {sight.thing: sight.candidate is None for sight in sights} if self.probes else {ALL: True}
        return Watching(
            version=__version__, kernel=os.uname().release, mode=by["mode"], missing=missing,
            looked_ago_s=by["looked"], is_blind=is_blind, silences=len(self.silencing.silences.now()),
        )  # fmt: skip

    def _who(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "host": socket.gethostname(),
            "run": self.run,
            "pid": os.getpid(),
            "timestamp": round(time.time(), 6),
            "started": round(self.started_s, 6),
        }

    def _blind(self) -> list[str]:
        """Return why what is over now may not be known; empty if it is."""
        reasons = [f"the thread {name} hangs" for name in late()]
        ago_s = monotonic_s() - self.schedule.looked_s
        if ago_s > max(OLD_LOOK_S, LOOKS_LATE * self.schedule.timing.sweep_s):
            reasons.append(f"no look at the sockets has ended for {ago_s:.0f} s")
        return reasons

    def _watches_by(self) -> dict[str, Any]:
        sights = self.probes.sights if self.probes else ()
        unseen = [f"{sight.thing}: no hook, looks alone find it" for sight in sights if not sight.candidate]
        ago_s = monotonic_s() - self.schedule.looked_s
        return {
            "mode": "ebpf" if self.probes else "poll",
            "unseen": ([f"no hooks: {self.no_hooks}"] if self.no_hooks else []) + unseen,
            "hooks": {sight.thing: sight.hooks for sight in sights},
            "look": self.look,
            "look_interval": self.schedule.timing.sweep_s,
            "looked": round(ago_s, 3) if self.schedule.looked_s > 0 else None,
        }

    def _settings(self) -> dict[str, Any]:
        config = self.settings.config
        stalled = config.stalled
        return {
            "thresholds": {"send": written(config.thresholds.send), "recv": written(config.thresholds.recv)},
            "hold": config.hold_s,
            "stalled_after": stalled.after,
            "stalled_above": stalled.above,
            "rules": len(config.rules),
        }

    def _open(self, now_ns: int) -> dict[str, Any]:
        episodes = chain.from_iterable(each.open.values() for each in self.queues)
        notices = self.rules.named(chain(self._of_listeners(now_ns), self.rates.open_now(now_ns)))
        found = open_now(episodes, notices, now_ns, MOST_QUEUES)
        oldest_s = 0.0 if found.oldest_ns is None else (now_ns - found.oldest_ns) / 1e9
        return {
            "over": found.over,
            "stalled": found.stalled,
            "held": found.held,
            "oldest": round(oldest_s, 3),
            "open": list(self._shown(found)),
        }

    def _of_listeners(self, now_ns: int) -> Iterator[Notice]:
        for episodes in self.listeners:
            for episode in episodes.open.values():
                if not episode.held:
                    yield notice_of(episode, ONGOING, now_ns, episode.size, episode.peak)

    def _shown(self, found: OpenNow) -> Iterator[dict[str, Any]]:
        offset_ns = time.time_ns() - monotonic_ns()
        # A socket has several episodes, and whose it is may be known of one alone.
        owners = {
            each.notice.socket.inode: (each.notice.pid, each.notice.comm)
            for each in found.worst
            if each.notice.socket and each.notice.pid
        }
        silenced = self.silencing.is_silenced(each.notice for each in found.worst)
        for each in found.worst:
            named = self.rules.named([each.notice]) if not each.notice.applied.rule else [each.notice]
            for notice in named:
                inode = notice.socket.inode if notice.socket else 0
                pid, comm = (
                    owners.get(inode, (notice.pid, notice.comm)) if inode else (notice.pid, notice.comm)
                )
                why, whose = self.causes.latest(notice.id), self.naming.known(notice.id)
                known = replace(notice, pid=pid, comm=comm, why=why, whose=whose)
                is_silenced = {"silenced": True} if notice.id in silenced else {}
                yield shown(known, offset_ns, held=each.held) | is_silenced

    def _owed(self) -> dict[str, Any]:
        by_name = self.dispatch.owed_by_destination()
        most = sorted(by_name.items(), key=lambda item: -item[1][0])[:MOST_DESTINATIONS]
        return {
            "owed": sum(owed for owed, _ in by_name.values()),
            "oldest_owed": round(self.dispatch.oldest_owed_s(), 3),
            "destinations": {name: {"owed": owed, "dead": is_dead} for name, (owed, is_dead) in most},
        }


def shown(notice: Notice, unix_offset_ns: int, *, held: bool) -> dict[str, Any]:
    """Return an open episode by the names of an alert's fields, numbers as numbers."""
    fields = parameters(alert_of(notice, seq=0, host="", unix_offset_ns=unix_offset_ns))
    values: dict[str, Any] = {
        name: _NUMBERS.get(BY_NAME[name].kind, str)(text)
        for name, text in fields.items()
        if name not in NOT_SHOWN
    }
    return {"since": float(seconds_text(notice.since_ns + unix_offset_ns)), "held": held, **values}


_NUMBERS: Mapping[Kind, Callable[[str], int | float]] = {Kind.WHOLE: int, Kind.SECONDS: float}
