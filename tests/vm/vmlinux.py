# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel proper out of the packed image that a distribution ships.

Booted directly it saves the guest its unpacking, which takes an emulated processor longer than the boot.
"""

from __future__ import annotations

import lzma
import struct
import subprocess
import zlib

SECTOR = 512
ELF = b"\x7fELF"


def extract(image: bytes) -> bytes:
    """Return the ELF file inside a bzImage; Documentation/arch/x86/boot.rst names the fields."""
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("not a kernel image")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (sectors + 1) * SECTOR + offset
    unpacked = unpack(image[begin : begin + length])
    if not unpacked.startswith(ELF):
        raise ValueError("no ELF file in the kernel image")
    return unpacked


def as_it_is(image: bytes) -> bytes:
    """Return an Image of arm64, which is not packed; Documentation/arch/arm64/booting.rst names the field."""
    if image[56:60] != b"ARM\x64":
        raise ValueError("not a kernel image of arm64")
    return image


def unpack(payload: bytes) -> bytes:
    """Undo whichever packing was used; the last four bytes are the size of what comes out."""
    packed = payload[:-4]
    if packed.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed)
    if packed.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.LZMADecompressor().decompress(packed)
    tool = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4"}.get(packed[:4])
    if tool is None:
        raise ValueError(f"a kernel packed in a way not known here: {packed[:6].hex()}")
    return subprocess.run([tool, "-dc"], input=packed, capture_output=True, check=True).stdout
