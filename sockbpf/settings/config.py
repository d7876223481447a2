# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The settings: every key of config.yaml with its default and its bounds.

Sizes are bytes (int), durations seconds (float); the models take them as the file writes them (`64KiB`,
`250ms`) or as plain numbers.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from sockbpf.errors import ConfigError
from sockbpf.record.alert import EVENTS, EXCEEDED, OF_RUN
from sockbpf.record.facts import Fill
from sockbpf.settings import yaml_source
from sockbpf.settings.addresses import WHERE, HostPort, host_port, web_url
from sockbpf.settings.at_start import AtStart
from sockbpf.settings.destination_list import every_destination
from sockbpf.settings.destinations import AnyDestination, Burst, Rate, Timeout
from sockbpf.settings.faults import fault_of
from sockbpf.settings.fields import (
    Backlog,
    Hold,
    Section,
    Threshold,
    absolute_path,
    duration,
    flag,
    none_or_a_second,
    number,
    one_of,
    power_of_two,
    whole,
)
from sockbpf.settings.host_labels import HostLabels
from sockbpf.settings.http import HttpOptions, one_login
from sockbpf.settings.owner import OwnerSettings
from sockbpf.settings.rates import DEFAULT as RATES
from sockbpf.settings.rates import RatesSettings
from sockbpf.settings.rules import Rules
from sockbpf.settings.secret import unless_plain
from sockbpf.settings.stalled import StalledSettings
from sockbpf.settings.store import StoreSettings

JOURNAL_NAME_BYTES = 200
SOCKET_PATH_BYTES = 107
"""The longest path that a Unix socket can have: sun_path of unix(7) less the zero at its end."""

HOLD_S = 10.0
"""How long a queue must be over the default thresholds. Healthy bulk transfers exceed these for up to 3 s at a time,
and over a slow link as long as they last: docs/measured.md."""

Event = Annotated[str, one_of((*EVENTS, *OF_RUN))]


def _event_set(events: tuple[str, ...]) -> tuple[str, ...]:
    if EXCEEDED not in events or len(set(events)) < len(events):
        raise ValueError(f"expected a list with {EXCEEDED} in it and no event twice")
    return events


def _listen(value: object) -> HostPort | None:
    if value in ("", None):
        return None
    return value if isinstance(value, HostPort) else host_port(str(value))


def _journal(value: object) -> Path | None:
    if value in ("none", None):
        return None
    path = absolute_path(value)
    if len(os.fsencode(path.name)) > JOURNAL_NAME_BYTES:
        raise ValueError(
            f"expected a file name of at most {JOURNAL_NAME_BYTES} bytes: files beside the journal have longer ones"
        )
    return path


def _socket(value: object) -> Path | None:
    if value in ("none", None):
        return None
    path = absolute_path(value)
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise ValueError(f"expected a path of at most {SOCKET_PATH_BYTES} bytes, as a socket can have")
    return path


class Thresholds(Section):
    """What a queue may hold, bytes or a share of its buffer; a socket is over while it holds more."""

    send: Threshold = 2**20
    recv: Threshold = 2**20


class ListenersSettings(Section):
    """A listener is over while more connections wait, for `hold` seconds, than `backlog`.

    `backlog` is a number, or a share of the listener's own backlog; 0: there are no alerts about listeners.
    """

    backlog: Backlog = Fill(80)
    hold: Annotated[float, duration("0s")] = 1.0


class FoldSettings(Section):
    """When crossings of sockets with something in common become one alert: more than `above` in `window` seconds.

    `above` 0: never.
    """

    above: Annotated[int, whole(0, 1_000_000)] = 5
    window: Annotated[float, duration("10ms", "1h")] = 1.0


class FlappingSettings(Section):
    """When crossings of a queue are only counted: after `above` alerts of it in `window` seconds; 0: never."""

    above: Annotated[int, whole(0, 1_000_000)] = 5
    window: Annotated[float, duration("1s", "24h")] = 60.0


class MetricsSettings(Section):
    """Where the counters are served; `listen` None: nowhere."""

    listen: Annotated[HostPort | None, PlainValidator(_listen)] = None


class StatusSettings(Section):
    """The socket at which `sockbpf status` asks; None: nowhere."""

    socket: Annotated[Path | None, PlainValidator(_socket)] = Path("/run/sockbpf/monitor.sock")


class HistorySettings(Section):
    """For how long the store keeps what the queues of each service were, every 10 s; seconds, 0: none is told."""

    keep: Annotated[float, duration("0s", "8760h")] = 7 * 86400.0


class JournalSettings(Section):
    """Where alerts are kept until they are delivered; `path` None: in memory only. `max_age` is seconds."""

    path: Annotated[Path | None, PlainValidator(_journal)] = Path("/var/lib/sockbpf/journal")
    max_age: Annotated[float, duration("1s")] = 24 * 3600.0


class Delivery(Section):
    """How alerts are sent; `timeout`, `retry_first` and `retry_max` are seconds.

    `queue` is how many alerts one destination may be owed. `rate` and `burst` are for destinations that have none of
    their own.
    """

    timeout: Timeout = 15.0
    workers: Annotated[int, whole(1, 64)] = 4
    queue: Annotated[int, whole(1, 1_000_000)] = 50_000
    retry_first: Annotated[float, duration("1ms")] = 0.5
    retry_max: Annotated[float, duration("1ms")] = Field(default=30.0, validate_default=True)
    rate: Rate = 0.0
    burst: Burst = 100

    @field_validator("retry_max")
    @classmethod
    def _not_below_first(cls, retry_max: float, info: ValidationInfo) -> float:
        if retry_max < (first := info.data.get("retry_first", 0.0)):
            raise ValueError(f"expected at least retry_first, {first:g}s")
        return retry_max


class SweepSettings(Section):
    """How often sockets are looked at without hooks, all in seconds.

    `interval` is from one dump of all sockets to the next, `recheck` from one look at the open episodes to
    the next; `poll` takes the place of `interval` when no hook can load.
    """

    interval: Annotated[float, duration("1s")] = 30.0
    recheck: Annotated[float, duration("100ms")] = 1.0
    poll: Annotated[float, duration("50ms")] = 1.0


class Kernel(Section):
    """What is loaded into the kernel.

    `perf_pages` is the pages of event buffer per CPU, `max_episodes` how many sockets can be over at once,
    `risk_panic` loads kprobes even into a kernel known to panic of them.
    """

    hooks: Literal["auto", "tracepoints", "kprobes", "none"] = "auto"
    types: Literal["auto", "btf", "headers"] = "auto"
    look: Literal["auto", "sock_diag"] = "auto"
    perf_pages: Annotated[int, whole(1, 4096), AfterValidator(power_of_two)] = 256
    max_episodes: Annotated[int, whole(16, 2**20)] = 32768
    risk_panic: Annotated[bool, BeforeValidator(flag)] = False


def _destinations(value: object, info: ValidationInfo) -> tuple[AnyDestination, ...]:
    return every_destination(value, info.data)


class Config(Section):
    """All settings. `clear_ratio` is the part of the threshold at which an episode ends.

    `repeat`, `hold` (see `hold_s`) and `heartbeat` (0: none) are seconds. `destinations` are all of them: first
    the one of `url` and `http`, named http, then those of the list; each has all its settings, the defaults of
    `delivery` included.

    `url` may hold a password: it stays out of the repr and must stay out of every message.
    """

    url: Annotated[str, PlainValidator(unless_plain(web_url))] = Field(repr=False, description=WHERE)
    http: HttpOptions = HttpOptions()
    thresholds: Thresholds = Thresholds()
    listeners: ListenersSettings = ListenersSettings()
    stalled: StalledSettings = StalledSettings()
    clear_ratio: Annotated[float, number("0", "1", "0.8")] = 0.8
    repeat: Annotated[float, duration("1s")] = 60.0
    events: Annotated[tuple[Event, ...], AfterValidator(_event_set)] = EVENTS
    hold: Hold = "auto"
    flapping: FlappingSettings = FlappingSettings()
    fold: FoldSettings = FoldSettings()
    rates: RatesSettings = RATES
    owner: OwnerSettings = OwnerSettings()
    history: Annotated[HistorySettings, AtStart()] = HistorySettings()
    heartbeat: Annotated[float, duration("0s"), AfterValidator(none_or_a_second)] = 0.0
    labels: HostLabels = Field(default={})
    metrics: Annotated[MetricsSettings, AtStart()] = MetricsSettings()
    status: Annotated[StatusSettings, AtStart()] = StatusSettings()
    journal: Annotated[JournalSettings, AtStart()] = JournalSettings()
    delivery: Delivery = Delivery()
    destinations: Annotated[tuple[AnyDestination, ...], PlainValidator(_destinations)] = Field(
        default=(), validate_default=True
    )
    rules: Rules = ()
    sweep: SweepSettings = SweepSettings()
    kernel: Annotated[Kernel, AtStart()] = Kernel()
    store: Annotated[StoreSettings, AtStart()] = StoreSettings()
    log: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def hold_s(self) -> float:
        """How long a queue must be over; not written: HOLD_S while both thresholds are the default ones, else 0."""
        if isinstance(self.hold, str):
            return HOLD_S if self.thresholds == Thresholds() else 0.0
        return self.hold

    @field_validator("http")
    @classmethod
    def _one_login(cls, http: HttpOptions, info: ValidationInfo) -> HttpOptions:
        one_login(info.data.get("url", ""), http.token, http.headers)
        return http


def by_default() -> Config:
    """Return the settings of a file that sets nothing, for commands that look and send nothing."""
    return Config.model_validate({"url": "http://127.0.0.1/"})


def load(path: Path) -> Config:
    """Read the settings; raise ConfigError, and nothing else, with every fault the file has."""
    source = yaml_source.read(path)
    faults = source.faults.copy()
    try:
        config = Config.model_validate(source.value)
    except ValidationError as error:
        faults += [fault for each in error.errors() if (fault := fault_of(each, source, Config))]
        raise ConfigError(yaml_source.messages(path, faults)) from None
    if faults:
        raise ConfigError(yaml_source.messages(path, faults))
    return config
