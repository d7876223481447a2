# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The labels of this host, told with `started` and each heartbeat."""

from typing import Annotated

from pydantic import BeforeValidator

from sockbpf.record.labels import IS_NAME, MOST_LABELS, MOST_NAME, MOST_VALUE, is_label
from sockbpf.settings.fields import few


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MOST_NAME or not IS_NAME(value):
        raise ValueError(
            f"expected names of labels, of at most {MOST_NAME} letters, digits and _, such as role"
        )
    return value


def _value(value: object) -> str:
    if not isinstance(value, str) or not is_label("a", value):
        raise ValueError(f"expected the value of a label, one line of at most {MOST_VALUE} characters")
    return value


Name = Annotated[str, BeforeValidator(_name)]
Value = Annotated[str, BeforeValidator(_value)]
HostLabels = Annotated[dict[Name, Value], few(MOST_LABELS, "labels")]
