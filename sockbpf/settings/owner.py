# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is told of the process that holds a socket."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator

from sockbpf.settings.fields import Section, absolute_path, flag


def _containers(value: object) -> Path | None:
    return None if value in ("none", None) else absolute_path(value)


class OwnerSettings(Section):
    """With `cmdline` alerts have its command line, what looks like a secret masked.

    `containers` is the file or the socket that has the names of containers; None: they have none.
    """

    cmdline: Annotated[bool, BeforeValidator(flag)] = False
    containers: Annotated[Path | None, PlainValidator(_containers)] = None
