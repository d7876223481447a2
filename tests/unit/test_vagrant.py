# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the virtual machines are made from: their table, Debian's key, and no archive's address."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
KEY = CHECKOUT / "vagrant" / "debian-12-archive.asc"
KEYRING = Path("/usr/share/keyrings/debian-archive-bookworm-automatic.gpg")


def test_the_readme_names_every_host() -> None:
    hosts = re.findall(
        r'(?m)^  "(\w+)" => \["cloud-image/ubuntu-(\d\d\.04)"', (CHECKOUT / "Vagrantfile").read_text()
    )
    assert hosts[0] == ("xenial", "16.04")
    readme = (CHECKOUT / "README.md").read_text()
    assert f"# Ubuntu {hosts[0][1]}; or {', '.join(name for name, _ in hosts[1:])}\n" in readme


def test_the_key_is_debians() -> None:
    text = KEY.read_text()
    armoured = re.search(r"(?s)KEY BLOCK-----\n\n(.*?)\n=", text)
    assert armoured
    packets = base64.b64decode(armoured[1])
    primary = packets[: 3 + int.from_bytes(packets[1:3], "big")]
    fingerprint = hashlib.sha1(primary).hexdigest().upper()  # RFC 4880, 12.2
    assert fingerprint in text.replace(" ", "").partition("Made by")[0]
    if KEYRING.exists():
        assert primary in KEYRING.read_bytes()


def test_no_archive_is_named() -> None:
    for path in [CHECKOUT / "Vagrantfile", *(CHECKOUT / "vagrant").iterdir()]:
        assert "://" not in path.read_text(), path
