# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""When a queue is stalled: for all sockets, and what a rule sets for some."""

from typing import Annotated

from pydantic import AfterValidator

from sockbpf.settings.fields import Section, Size, duration, none_or_a_second


class StalledSettings(Section):
    """A queue is stalled if it holds more than `above` bytes and nothing left it for `after` seconds (0: never)."""

    after: Annotated[float, duration("0s"), AfterValidator(none_or_a_second)] = 15.0
    above: Size = 1024


class RuleStalled(Section):
    """As StalledSettings; None: as for all sockets."""

    after: Annotated[float | None, duration("0s"), AfterValidator(none_or_a_second)] = None
    above: Size | None = None
