# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Debian's Zabbix 7.0, server, agents and frontend, with all their libraries: unpacked, not installed.

The programs run by the folder's own loader, so nothing of this machine is changed, and it may be another release.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.vm.packages import BACKPORTS, CACHE, ROOT_SUITE, closure, made_once, unpack

NAMES = (
    *(f"zabbix-{each}/{BACKPORTS}" for each in ("server-pgsql", "agent", "agent2", "frontend-php")),
    "php-cli",
    "php-pgsql",
)
WANTED = "zabbix-|php8|lib(?!perl|apache2|heif-plugin)"
"""The packages that are unpacked; others, such as a web server, are of no use here."""

LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
CONFIG_CLASS = Path("usr/share/zabbix/include/classes/core/CConfigFile.php")
CONFIG = """\
<?php
$DB['TYPE'] = 'POSTGRESQL';
$DB['SERVER'] = '127.0.0.1';
$DB['PORT'] = getenv('ZABBIX_DATABASE_PORT');
$DB['DATABASE'] = getenv('ZABBIX_DATABASE');
$DB['USER'] = 'postgres';
$DB['PASSWORD'] = '';
$DB['SCHEMA'] = '';
$ZBX_SERVER = '127.0.0.1';
$ZBX_SERVER_PORT = getenv('ZABBIX_SERVER_PORT');
$ZBX_SERVER_NAME = '';
$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;
"""


def unpacked() -> Path:
    """Return the folder with the programs, made if it is not there. Raise PackagesError where they cannot be had."""

    def make(folder: Path) -> None:
        unpack(closure(ROOT_SUITE, NAMES, WANTED), folder)
        # The frontend looks for its settings in /etc alone.
        config = folder / "etc" / "zabbix" / "frontend.conf.php"
        config.write_text(CONFIG)
        source = folder / CONFIG_CLASS
        text, number = re.subn(r"(CONFIG_FILE_PATH = )'[^']*'", rf"\1'{config}'", source.read_text())
        assert number == 1
        source.write_text(text)

    return made_once(CACHE / "zabbix", [NAMES, WANTED, CONFIG], make)


def command(folder: Path, program: str, *arguments: object) -> list[str]:
    """Return the command that runs one of the programs, by its path within the folder."""
    libraries = folder / LIBRARIES
    loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
    return [*loader, str(folder / program), *map(str, arguments)]


def php(folder: Path) -> list[str]:
    """Return the command of PHP with the extensions that the frontend needs, and no settings of this machine."""
    (extensions,) = (folder / "usr/lib/php").glob("2*")
    needed = (
        "bcmath", "ctype", "dom", "fileinfo", "gd", "gettext", "mbstring", "pgsql", "posix", "simplexml", "sockets",
        "tokenizer", "xml", "xmlreader", "xmlwriter",
    )  # fmt: skip
    options = [f"-dextension={extensions / name}.so" for name in needed]
    (program,) = (folder / "usr/bin").glob("php8.*")
    return [
        *command(folder, str(program.relative_to(folder)), "-n", *options),
        "-dmemory_limit=256M", "-dpost_max_size=16M", "-dmax_input_time=300", "-ddate.timezone=UTC",
    ]  # fmt: skip
