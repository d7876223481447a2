# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The file beside the journal in which silences are kept over restarts: for root alone, replaced as a whole."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.delivery.journal_aside import rename
from sockbpf.delivery.journal_file import sync_folder, write_whole
from sockbpf.errors import ConfigError
from sockbpf.process import private_file
from sockbpf.settings.silences import silence_of, written

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sockbpf.record.silence import Silence

log = logging.getLogger(__name__)

MOST = 64
"""So many silences there can be at once."""

MOST_BYTES = 2**21


def beside(journal: Path | None) -> Path | None:
    """Return where the silences of the monitor with this journal are kept; None: nowhere."""
    return journal.with_name(f"{journal.name}.silences") if journal else None


def read(path: Path) -> list[Silence]:
    """Return the silences that are kept; of a file that is damaged none, it is set aside and named in the log."""
    try:
        return _read(path)
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError, ConfigError):
        with suppress(OSError):
            log.warning("%s is damaged: set aside as %s, nothing is silenced", path, rename(path))
            return []
    except OSError as fault:
        log.warning("%s cannot be read, nothing is silenced: %s", path, fault.strerror or fault)
        return []
    log.warning("%s is damaged, nothing is silenced", path)
    return []


def _read(path: Path) -> list[Silence]:
    file = private_file.opened(path)
    try:
        raw = os.read(file, MOST_BYTES + 1)
    finally:
        os.close(file)
    said = json.loads(raw.decode("utf-8"))
    if len(raw) > MOST_BYTES or not isinstance(said, list) or len(said) > MOST:
        raise ValueError("no list of silences")
    return [silence_of(each) for each in said]


def write(path: Path, silences: Iterable[Silence]) -> None:
    """Keep these silences in place of those before. Raise OSError; the file is then as it was."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    file = private_file.opened(new, os.O_CREAT | os.O_EXCL)
    try:
        write_whole(file, json.dumps([written(each) for each in silences]).encode("ascii"))
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(new, path)
    sync_folder(path.parent)
