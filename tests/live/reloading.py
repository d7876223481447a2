# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Other settings for a monitor that runs."""

from __future__ import annotations

import signal

import yaml

from tests.live.monitoring import Monitor
from tests.live.waiting import until


def change(monitor: Monitor, **settings: object) -> None:
    """Write other settings into the monitor's file and have it read them."""
    file = monitor.log_file.with_name("config.yaml")
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))
    hang_up(monitor)


def hang_up(monitor: Monitor) -> None:
    said = monitor.log().count("settings")
    monitor.process.send_signal(signal.SIGHUP)
    until(lambda: monitor.log().count("settings") > said, "a word about the settings")
