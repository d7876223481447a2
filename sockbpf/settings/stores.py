# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which destinations lead to a store of ours, and where that is."""

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from sockbpf.settings.destinations import AnyDestination, BatchStoreSettings, HttpSettings


def stores_among(
    destinations: Iterable[AnyDestination], is_own: Callable[[str], bool]
) -> tuple[BatchStoreSettings | HttpSettings, ...]:
    """Return the destinations of type `store`, and those whose url is that of the monitor's own store."""
    return tuple(
        each
        for each in destinations
        if isinstance(each, BatchStoreSettings) or (isinstance(each, HttpSettings) and is_own(str(each.url)))
    )


def base_of(settings: BatchStoreSettings | HttpSettings) -> str:
    """Return the url of the store to which a destination leads, without a / at its end."""
    url = str(settings.url)
    if isinstance(settings, BatchStoreSettings):
        return url.rstrip("/")
    return urlsplit(url)._replace(path="", query="").geturl()  # its url is that of alerts
