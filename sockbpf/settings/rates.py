# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The settings of rates: counters by `nstat`'s names, and how fast each may rise."""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sockbpf.record.rate import NAME, NO_COUNTERS, Rate
from sockbpf.settings.fields import Section

MOST_RATE = 10**9
MOST_COUNTERS = 64


def _rate(value: object) -> Rate | None:
    if value is None or isinstance(value, Rate):
        return value
    found = re.fullmatch(r"(0|[1-9][0-9]{0,17})/([sm])", str(value))
    if not found:
        raise ValueError("expected a rate such as 5/s or 10/m")
    if int(found[1]) > MOST_RATE:
        raise ValueError(f"expected a rate of at most {MOST_RATE}")
    return Rate(int(found[1]), 1 if found[2] == "s" else 60)


def _counter_name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("expected a counter by the name that nstat prints, such as UdpRcvbufErrors")
    if value in NO_COUNTERS:
        raise ValueError("expected a counter, which only rises; this one is a setting or a present number")
    return value


def _not_too_many(rates: "dict[str, RateSettings]") -> "dict[str, RateSettings]":
    if len(rates) > MOST_COUNTERS:
        raise ValueError(f"expected at most {MOST_COUNTERS} counters")
    return rates


class RateSettings(Section):
    """How fast one counter may rise; None: there is no alert of that severity."""

    warning: Annotated[Rate | None, PlainValidator(_rate)] = None
    critical: Annotated[Rate | None, PlainValidator(_rate)] = None

    @field_validator("critical")
    @classmethod
    def _above_warning(cls, critical: Rate | None, info: ValidationInfo) -> Rate | None:
        warning: Rate | None = info.data.get("warning")
        if critical and warning and critical.number * warning.seconds <= warning.number * critical.seconds:
            raise ValueError(f"expected more than warning, {warning}")
        return critical

    @model_validator(mode="after")
    def _one_at_least(self) -> "RateSettings":
        if self.warning is None and self.critical is None:
            raise ValueError("expected warning, critical or both, such as {warning: 1/s}")
        return self


CounterName = Annotated[str, BeforeValidator(_counter_name)]
RatesSettings = Annotated[dict[CounterName, RateSettings], AfterValidator(_not_too_many)]

DEFAULT = {"UdpRcvbufErrors": RateSettings(warning=Rate(1, 1), critical=Rate(100, 1))}
