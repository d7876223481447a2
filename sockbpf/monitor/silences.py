# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The silences of the running monitor: made, listed and ended by whom root lets ask, kept over restarts.

Orders come by the thread that answers at the monitor's socket; the loop asks which silences there are now.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sockbpf.errors import ConfigError
from sockbpf.monitor import silences_file
from sockbpf.settings.silences import MOST_S, shown, silence_of, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sockbpf.record.silence import Silence

log = logging.getLogger(__name__)

SUMMARY_CHARACTERS = 500
PART_CHARACTERS = 200
"""Of the conditions of one silence in that line."""


class Silences:
    """Safe from several threads. Silences end by the wall clock."""

    def __init__(self, path: Path | None, changed: Callable[[], None]) -> None:
        """Read what is kept at `path`, None: nowhere; `changed` is called after each change."""
        self._path = path
        self._changed = changed
        self._lock = threading.Lock()
        kept = silences_file.read(path) if path else []
        self._silences: tuple[Silence, ...] = tuple(kept)
        for each in self.now():
            log.info("silenced until %s: %s", _clock(each.until_s), shown(each.conditions))

    def now(self) -> tuple[Silence, ...]:
        """Return the silences that last."""
        now_s = time.time()
        return tuple(each for each in self._silences if each.until_s > now_s)

    def told(self) -> list[dict[str, Any]]:
        """Return the silences that last as JSON has them."""
        return [written(each) for each in self.now()]

    def summary(self) -> str:
        """Return the silences that last in one line, the one that ends last first, as far as it is not too long."""
        lasting = sorted(self.now(), key=lambda each: -each.until_s)
        parts = [_brief(each) for each in lasting]
        for kept in range(len(parts), 0, -1):
            more = [f"{len(parts) - kept} more"] if kept < len(parts) else []
            if len(text := "; ".join([*parts[:kept], *more])) <= SUMMARY_CHARACTERS:
                return text
        return ""

    def order(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Do what an order says, and return the answer to it: `faults`, if it cannot be done."""
        with self._lock:
            try:
                answer = self._done(said)
            except ConfigError as error:
                return {"faults": error.faults}
        self._changed()
        return answer

    def _done(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if said.get("do") == "list":
            return {"silences": self.told()}
        if said.get("do") == "end":
            return self._end(said.get("id"))
        if said.get("do") == "silence":
            return self._begin(said)
        raise ConfigError(["no order that this version knows"])

    def _begin(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if len(self.now()) >= silences_file.MOST:
            raise ConfigError([f"there are {silences_file.MOST} silences already; --end one of them"])
        id_, now_s = os.urandom(4).hex(), time.time()
        for_s = said.get("for")
        if not isinstance(for_s, (int, float)) or not math.isfinite(for_s):
            raise ConfigError(["no duration"])
        made = silence_of({**said, "id": id_, "made": now_s, "until": now_s})
        made = replace(made, until_s=now_s + min(max(for_s, 1.0), MOST_S))
        self._silences = (*self.now(), made)
        log.warning("silenced until %s: %s%s", _clock(made.until_s), shown(made.conditions), _because(made))
        return {"silences": [written(made)], "kept": self._keep()}

    def _end(self, id_: object) -> dict[str, Any]:
        ended = [each for each in self.now() if each.id == id_]
        if not ended:
            raise ConfigError(["--end: there is no silence with this id; --list shows all"])
        self._silences = tuple(each for each in self.now() if each.id != id_)
        log.warning("silence %s is ended: %s", id_, shown(ended[0].conditions))
        return {"silences": [written(ended[0])], "kept": self._keep()}

    def _keep(self) -> str:
        """Write the silences down; return why they are not kept over a restart, empty if they are."""
        if self._path is None:
            return "the monitor has no journal"
        try:
            silences_file.write(self._path, self._silences)
        except OSError as fault:
            reason = f"{self._path} cannot be written: {fault.strerror or fault}"
            log.warning("silences are not kept over a restart: %s", reason)
            return reason
        return ""


def _because(silence: Silence) -> str:
    return f" ({silence.reason})" if silence.reason else ""


def _brief(silence: Silence) -> str:
    """Return a silence as a part of the line, its conditions cut where they are long."""
    conditions, reason = shown(silence.conditions), f" ({silence.reason})" if silence.reason else ""
    cut = conditions if len(conditions) <= PART_CHARACTERS else f"{conditions[:PART_CHARACTERS]}…"
    return f"{cut} until {_clock(silence.until_s)}{reason}"


def _clock(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
