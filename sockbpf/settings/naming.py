# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The names that an operator gives: to a destination, to a rule."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("expected a name of letters, digits and _.-, such as second")
    return value


Name = Annotated[str, BeforeValidator(_name)]
