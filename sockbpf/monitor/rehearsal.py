# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Tries whether every destination can be made and its first request be prepared, before any alert is sent.

The faults that the settings alone show have been named already, with their lines (config.py). This finds the others:
proxies and certificates of the environment, and values that a library refuses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.table import MAKERS
from sockbpf.delivery.transport import UnusableError
from sockbpf.errors import ConfigError
from sockbpf.process.life import NoThreadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.delivery.transport import BatchDestination, Destination
    from sockbpf.settings.config import Config
    from sockbpf.settings.destinations import AnyDestination

    Maker = Callable[[AnyDestination], Callable[[], Destination | BatchDestination]]


def maker_of(settings: AnyDestination) -> Callable[[], Destination | BatchDestination]:
    """Return the function that makes a destination of its settings alone."""
    return partial(MAKERS[settings.type], settings)


def rehearse(config: Config, maker: Maker = maker_of) -> None:
    """Make each destination and close it. Raise ConfigError that names all that cannot be made."""
    faults = [fault for settings in config.destinations if (fault := _fault(settings, maker))]
    if faults:
        raise ConfigError(faults)


def _fault(settings: AnyDestination, maker: Maker) -> str | None:
    try:
        maker(settings)().close()
    except (MemoryError, NoThreadError):
        raise
    except UnusableError as error:
        return f"the destination {settings.name} cannot be used: {error}"
    except Exception as error:  # noqa: BLE001  whatever a library finds; its text may hold a secret
        return f"the destination {settings.name} cannot be made: {type(error).__name__}"
    return None
