"""The settings: every key of config.yaml with its default and its bounds, and a message for each fault.

Sizes are bytes (int), durations seconds (float); the models take them as the file writes them (`64KiB`,
`250ms`) or as plain numbers.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from sockbpf import yaml_source
from sockbpf.alert import EVENTS, EXCEEDED, ONGOING
from sockbpf.errors import ConfigError
from sockbpf.yaml_source import REFUSED, Fault, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from urllib.parse import SplitResult

    from pydantic import ValidationInfo
    from pydantic_core import ErrorDetails

    from sockbpf.yaml_source import Source, Where

    Units = Mapping[str, int | Fraction]

PLAIN: Units = {"": 1}
SIZES: Units = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
DURATIONS: Units = {"": 1, "ms": Fraction(1, 1000), "s": 1, "m": 60, "h": 3600}
MAX_URL = 2000  # leaves room for the parameters in the 8 KiB that common servers take
URL = "http://127.0.0.1:8080/alert"


def _quantity(text: str, units: Units) -> Fraction | None:
    """Return a written number times its unit, exactly; None when it is not one."""
    found = re.fullmatch(r"(-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?) ?([A-Za-z]*)", text)
    return Fraction(found[1]) * units[found[2]] if found and found[2] in units else None


def _number(
    kind: type[int | float], what: str, example: str, units: Units, *, low: str, high: str
) -> BeforeValidator:
    least, most = _quantity(low, units), _quantity(high, units)

    def number(value: object) -> float:
        text = str(value)
        found = _quantity(text, units)
        if found is None or (kind is int and re.fullmatch(r".*\.[0-9]+", text)):
            raise ValueError(f"expected {what} such as {example}")
        if not (least is not None and most is not None and least <= found <= most):
            raise ValueError(f"expected {what} from {low} to {high}")
        return kind(found)  # to whole bytes, down: no queue lies between 1.1MiB and the byte below it

    return BeforeValidator(number)


def _whole(low: int, high: int) -> BeforeValidator:
    return _number(int, "a whole number", str(low), PLAIN, low=str(low), high=str(high))


def _duration(low: str, high: str = "8760h") -> BeforeValidator:
    return _number(float, "a duration", "30s", DURATIONS, low=low, high=high)


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise ValueError("expected a power of two such as 64")
    return number


def _flag(value: object) -> bool:
    if value not in (True, False, "true", "false"):
        raise ValueError("expected true or false")
    return value in (True, "true")


def _event(value: object) -> str:
    if not isinstance(value, str) or value not in EVENTS:
        raise ValueError(f"expected one of {', '.join(EVENTS)}")
    return value


def _event_set(events: tuple[str, ...]) -> tuple[str, ...]:
    if EXCEEDED not in events or len(set(events)) < len(events):
        raise ValueError(f"expected a list with {EXCEEDED} in it and no event twice")
    return events


def _url(value: object) -> str:
    """Check what the HTTP client would trip over later; no message holds any of the url."""
    text = value if isinstance(value, str) else ""
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("expected a url without spaces, control characters and backslashes")
    if "#" in text:
        raise ValueError("expected a url without a fragment (#...)")
    if len(text) > MAX_URL:
        raise ValueError(f"expected a url of at most {MAX_URL} characters")
    try:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not _is_host(parts):
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise ValueError(f"expected an http or https address with a host, such as {URL}") from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("expected a port from 1 to 65535")
    return text


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.rpartition("@")[2].startswith("["):
        return bool(ipaddress.IPv6Address(host))
    return bool(re.fullmatch(r"(?!.{254})([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?", host))


# The kernel keeps a queue in 32 bits, signed.
Size = Annotated[int, _number(int, "a size", "64KiB", SIZES, low="0", high="2147483647")]

Event = Annotated[str, BeforeValidator(_event)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Thresholds(_Section):
    """Bytes a queue may hold; a socket is over while it holds more."""

    send: Size = 2**20
    recv: Size = 2**20


class Delivery(_Section):
    """How alerts are sent; `timeout`, `retry_first` and `retry_max` are seconds, `queue` alerts waiting."""

    timeout: Annotated[float, _duration("1ms", "10m")] = 15.0
    workers: Annotated[int, _whole(1, 64)] = 4
    queue: Annotated[int, _whole(1, 1_000_000)] = 10_000
    retry_first: Annotated[float, _duration("1ms")] = 0.5
    retry_max: Annotated[float, _duration("1ms")] = Field(default=30.0, validate_default=True)

    @field_validator("retry_max")
    @classmethod
    def _not_below_first(cls, retry_max: float, info: ValidationInfo) -> float:
        if retry_max < (first := info.data.get("retry_first", 0.0)):
            raise ValueError(f"expected at least retry_first, {first:g}s")
        return retry_max


class Sweep(_Section):
    """Looking without hooks, all in seconds.

    `interval` is from one dump of all sockets to the next, `recheck` from one look at the open episodes to
    the next; `poll` takes the place of `interval` when no hook can load.
    """

    interval: Annotated[float, _duration("1s")] = 30.0
    recheck: Annotated[float, _duration("100ms")] = 1.0
    poll: Annotated[float, _duration("50ms")] = 1.0


class Kernel(_Section):
    """What is loaded into the kernel.

    `perf_pages` is the pages of event buffer per CPU, `max_episodes` how many sockets can be over at once,
    `risk_panic` loads kprobes even into a kernel known to panic of them.
    """

    hooks: Literal["auto", "tracepoints", "kprobes", "none"] = "auto"
    types: Literal["auto", "btf", "headers"] = "auto"
    perf_pages: Annotated[int, _whole(1, 4096), AfterValidator(_power_of_two)] = 256
    max_episodes: Annotated[int, _whole(16, 2**20)] = 32768
    risk_panic: Annotated[bool, BeforeValidator(_flag)] = False


class Config(_Section):
    """All settings. `clear_ratio` is the part of the threshold at which an episode ends, `repeat` is seconds.

    `url` may hold a password: it stays out of the repr and must stay out of every message.
    """

    url: Annotated[str, BeforeValidator(_url)] = Field(repr=False)
    thresholds: Thresholds = Thresholds()
    clear_ratio: Annotated[float, _number(float, "a number", "0.8", PLAIN, low="0", high="1")] = 0.8
    repeat: Annotated[float, _duration("1s")] = 60.0
    events: Annotated[tuple[Event, ...], AfterValidator(_event_set)] = (EXCEEDED, ONGOING)
    delivery: Delivery = Delivery()
    sweep: Sweep = Sweep()
    kernel: Kernel = Kernel()
    log: Literal["debug", "info", "warning", "error"] = "info"


def load(path: Path) -> Config:
    """Read the settings; raise ConfigError, and nothing else, with every fault the file has."""
    source = yaml_source.read(path)
    faults = source.faults.copy()
    try:
        config = Config.model_validate(source.value)
    except ValidationError as error:
        faults += [fault for details in error.errors() if (fault := _fault(details, source))]
        raise ConfigError(yaml_source.told(path, faults)) from None
    if faults:
        raise ConfigError(yaml_source.told(path, faults))
    return config


def _fault(error: ErrorDetails, source: Source) -> Fault | None:
    """Return pydantic's error in our words; None when the value was refused, and that told, before."""
    kind, where, value = error["type"], error["loc"], error["input"]
    if kind == "missing":
        return Fault(1, where, f"required, where alerts go, such as {URL}")
    if kind == "extra_forbidden":
        return Fault(source.line(where), where, _unknown(where))
    if value is REFUSED:
        return None
    if kind == "value_error":
        expected = str(error["ctx"]["error"])
    elif kind == "tuple_type":
        expected = f"expected a list such as [{EXCEEDED}, {ONGOING}]"
    elif kind == "model_type":
        expected = f"expected keys ({', '.join(_known(where))}) with their values"
    else:
        expected = "expected one of " + error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
    got = _without_secrets(value) if where == ("url",) else shown(value)
    return Fault(source.line(where), where, f"{expected}, got {got}")


def _known(where: Where) -> list[str]:
    """Return the keys of the section that `where` leads to."""
    section: type[BaseModel] = Config
    for key in where:
        section = cast("type[BaseModel]", section.model_fields[str(key)].annotation)
    return list(section.model_fields)


def _unknown(where: Where) -> str:
    known = _known(where[:-1])
    near = difflib.get_close_matches(str(where[-1]).lower(), known, n=1)
    return "unknown key, " + (f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}")


def _without_secrets(url: object) -> str:
    """Return a faulty url for a message: a password may hide before an `@`, in a bad port or in the query."""
    if not isinstance(url, str):
        return "more than one value"
    text = re.sub(r"(?s)^(\w+://)?.*@", r"\1***@", url)
    text = re.sub(r"(?s)[?#].*", "?***", text)
    text = re.sub(r"(\[[0-9A-Fa-f:.]*\])|:(?!/|[0-9]{1,5}(?:/|$))[^/]*", lambda m: m[1] or ":***", text)
    return shown(text)
