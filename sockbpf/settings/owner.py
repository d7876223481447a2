# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is told of the process that holds a socket."""

from typing import Annotated

from pydantic import BeforeValidator

from sockbpf.settings.fields import Section, flag


class OwnerSettings(Section):
    """With `cmdline` alerts have its command line, what looks like a secret masked."""

    cmdline: Annotated[bool, BeforeValidator(flag)] = False
