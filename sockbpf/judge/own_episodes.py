# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a judge answers of episodes of its own that it has begun and not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.judge.episodes import Episodes
    from sockbpf.record.alert import Notice


class OwnEpisodes:
    """The part that judges of looks share; `episodes` is set by each."""

    episodes: Episodes

    def is_open(self, id_: str) -> bool:
        """Tell whether the episode with this id is open."""
        return self.episodes.is_open(id_)

    def __len__(self) -> int:
        return len(self.episodes.open)

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return the notices that are due by now: of episodes that have begun, of repeats."""
        return self.episodes.due(now_ns)

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called for an episode that has begun; None if none has."""
        return self.episodes.next_due_ns()
