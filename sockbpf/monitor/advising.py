# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Asks a store what the queues of a host's services were, and what was told of them. For `sockbpf advise`."""

from __future__ import annotations

import math
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.store_get import StoreGet
from sockbpf.delivery.transport import TransportError, UnusableError
from sockbpf.errors import ConfigError, UnsupportedError
from sockbpf.judge.advice_known import BAD, HOUR_S, Known, whole
from sockbpf.record.history import PROTOCOLS, TYPES, Sample, Series
from sockbpf.record.text import printable
from sockbpf.settings.store import leads_to
from sockbpf.settings.stores import stores_among

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.history import Samples
    from sockbpf.settings.config import Config
    from sockbpf.settings.destinations import BatchStoreSettings, HttpSettings

MOST_SERVICES, MOST_LISTED = 50, 1000
MOST_REQUESTS = 6000
"""For the samples of all services; those that it does not reach are left out."""
ENOUGH_S, TOO_LONG_S = 120.0, 600.0
"""After so long no further service is asked about; after so long it ends."""
PAGE, MOST_PAGES = 1000, 50


def store_of(config: Config) -> BatchStoreSettings | HttpSettings | None:
    """Return the destination that leads to a store with a history, of type `store` or the monitor's own one."""
    return next(iter(stores_among(config.destinations, lambda url: leads_to(url, config.store.listen))), None)


def history_of(config: Config, host: str, service: str, begin_s: float, end_s: float) -> Known:
    """Return what the store of these settings knows; of one service, where it is named.

    Raise ConfigError where they name no store, UnsupportedError where it does not answer.
    """
    settings = store_of(config)
    if settings is None:
        raise ConfigError(["advice is made of a store's history, and no destination leads to a store"])
    try:
        with closing(StoreGet(settings)) as store:
            return Asking(store, host, service).history(begin_s, end_s)
    except (TransportError, UnusableError) as failed:
        raise UnsupportedError(
            f"{printable(str(failed))}. Remedy: run the store, with a `history`, and give the destination its token"
        ) from None


class Asking:
    """Reads the history of one host from one store. Raise TransportError from each method."""

    def __init__(self, store: StoreGet, host: str, service: str = "") -> None:
        """With `service` only of that one."""
        self._store = store
        self._names = {"host": host} | ({"service": service} if service else {})
        self._requests = 0
        self._begun_s = time.monotonic()

    def history(self, begin_s: float, end_s: float) -> Known:
        """Return what is known between these times, widened to whole hours."""
        found = Known.between(begin_s, end_s)
        services, more = self._services(found)
        for place, series in enumerate(services):
            took_s = time.monotonic() - self._begun_s
            if place == MOST_SERVICES or self._requests >= MOST_REQUESTS or took_s > ENOUGH_S:
                more += len(services) - place
                break
            found.samples[series] = self._samples(series, found)
        found.left_out = more
        self._read_told(found)
        return found

    def _services(self, of: Known) -> tuple[list[Series], int]:
        """Return the services, the fullest first, and how many there are beside them."""
        said = self._history(of.begin_s, of.end_s, {"top": 0, "limit": MOST_LISTED})
        try:
            named = [Series(*(row[name] for name in Series._fields)) for row in said["services"]]
            if not all(self._is_of_names(each) for each in named):
                raise self._store.fault("/history")
            return list(dict.fromkeys(named))[:MOST_LISTED], max(0, int(said["more"]))
        except BAD:
            raise self._store.fault("/history") from None

    def _is_of_names(self, series: Series) -> bool:
        return (
            all(isinstance(each, str) and 0 < len(each) <= 255 for each in series)  # noqa: PLR2004  as posted
            and series.protocol in PROTOCOLS
            and series.type in TYPES
            and all(getattr(series, name) == value for name, value in self._names.items())
        )

    def _samples(self, series: Series, of: Known) -> Samples:
        """Return all samples of a series: hours that have any are asked for one by one."""
        hours = self._steps(series, of.begin_s, of.end_s)
        samples: Samples = {}
        for hour_s in sorted({at_s // HOUR_S * HOUR_S for at_s in hours}):
            samples |= self._steps(series, hour_s, hour_s + HOUR_S)
        return samples

    def _steps(self, series: Series, begin_s: int, end_s: int) -> Samples:
        said = self._history(begin_s, end_s, {**series._asdict(), "top": 1, "limit": 0})
        found: Samples = {}
        try:
            for row in said["series"]:
                lists = zip(said["times"], *(row[name] for name in Sample._fields), strict=True)
                for at_s, *values in lists:
                    if values[0] is not None and begin_s <= at_s < end_s:
                        found[int(at_s)] = Sample(*map(whole, values))
        except BAD:
            raise self._store.fault("/history") from None
        return found

    def _history(self, begin_s: int, end_s: int, asked: Mapping[str, str | int]) -> Any:
        self._requests += 1
        return self._ask("/history", {**self._names, "from": begin_s, "to": end_s, **asked})

    def _ask(self, path: str, asked: Mapping[str, str | float]) -> Any:
        if time.monotonic() - self._begun_s > TOO_LONG_S:
            raise TransportError(f"GET {self._store.shown}{path}: no end of answers in {TOO_LONG_S:g} s")
        return self._store.ask(path, asked)

    def _read_told(self, of: Known) -> None:
        """Add the episodes that were told, as far as they are of these series."""
        seen: set[str] = set()
        to_s = float(of.end_s)
        for _ in range(MOST_PAGES):
            asked: dict[str, str | float] = {
                "host": self._names["host"],
                "from": of.begin_s,
                "to": to_s,
                "limit": PAGE,
            }
            rows = self._ask("/episodes", asked)
            before_s = to_s
            try:
                for row in rows:
                    to_s = min(to_s, float(row["start"]))
                    if row["id"] not in seen:
                        seen.add(row["id"])
                        of.add_episode(row)
            except BAD:
                raise self._store.fault("/episodes") from None
            if len(rows) < PAGE:
                return
            to_s = math.nextafter(to_s, math.inf)  # those that began at that very time come once more
            if to_s >= before_s:
                break
        of.is_whole = False
