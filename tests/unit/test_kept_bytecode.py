# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What was compiled is found again, for the same order and kernel, and only where nobody else can change it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sockbpf.kernel.build import cache
from sockbpf.kernel.build import source as source_of_types
from sockbpf.kernel.build.bytecode import Bytecode, MapKind
from sockbpf.kernel.build.order import Order

BYTECODE = Bytecode("BTF", "GPL", 0x061200, {"own": MapKind(1, 8, 8, 1024, 0)}, {})
KEY, OTHER = b"k" * cache.DIGEST, b"o" * cache.DIGEST


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "run"
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    return place


@pytest.fixture
def file(folder: Path) -> Path:
    """Return where something is kept."""
    cache.write(KEY, BYTECODE)
    assert cache.read(KEY) == BYTECODE
    return folder / cache.NAME


def test_nothing_is_there_at_first(folder: Path) -> None:
    assert not cache.is_there()
    assert cache.read(KEY) is None


def test_it_is_this_user_s_alone(file: Path) -> None:
    assert cache.is_there()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert os.listdir(file.parent) == [file.name]


def test_it_is_not_found_under_another_key(file: Path) -> None:
    assert cache.read(OTHER) is None
    cache.write(OTHER, BYTECODE)
    assert cache.read(OTHER) == BYTECODE
    assert cache.read(KEY) is None


@pytest.mark.parametrize("at", [0, cache.DIGEST, 2 * cache.DIGEST, -1])
def test_a_changed_byte_is_seen(file: Path, at: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    file.write_bytes(raw)
    assert cache.read(KEY) is None


@pytest.mark.parametrize("size", [0, 1, cache.DIGEST, 2 * cache.DIGEST, 2 * cache.DIGEST + 1])
def test_a_cut_file_is_seen(file: Path, size: int) -> None:
    os.truncate(file, size)
    assert cache.read(KEY) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_not_read(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert cache.read(KEY) is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_nothing_is_read_or_written_where_others_can_write(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    assert cache.read(KEY) is None
    file.unlink()
    cache.write(KEY, BYTECODE)
    assert not file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_user_s_is_not_read(file: Path) -> None:
    os.chown(file, 65534, -1)
    assert cache.read(KEY) is None
    os.chown(file, 0, -1)
    os.chown(file.parent, 65534, -1)
    assert cache.read(KEY) is None


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert cache.read(KEY) is None
    file.unlink()
    (tmp_path / "elsewhere").rename(file)
    file.parent.rename(tmp_path / "there")
    file.parent.symlink_to(tmp_path / "there")
    assert cache.read(KEY) is None


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)
    assert cache.read(KEY) is None


def test_where_nothing_can_be_written_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/dev/null/none")
    cache.write(KEY, BYTECODE)
    assert not cache.is_there()
    assert cache.read(KEY) is None


def test_the_key_is_another_for_everything_that_it_depends_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order, btf, source, library = (
        Order(("-DX=1",), {"a": "kprobe"}),
        tmp_path / "btf",
        tmp_path / "c",
        tmp_path / "so",
    )
    source.mkdir()
    for path in (btf, source / "monitor.c", library):
        path.write_text("1")
    monkeypatch.setattr(source_of_types, "BTF", btf)
    monkeypatch.setattr(cache, "SOURCE", source)
    monkeypatch.setattr(cache, "library_file", lambda: library)
    keys = [cache.key_of(order, "auto")]
    assert cache.key_of(Order(("-DX=1",), {"a": "kprobe"}), "btf") == keys[0]

    keys.append(cache.key_of(Order(("-DX=2",), {"a": "kprobe"}), "auto"))
    keys.append(cache.key_of(Order(("-DX=1",), {"b": "kprobe"}), "auto"))
    for path in (btf, source / "monitor.c", library):
        path.write_text("22")
        keys.append(cache.key_of(order, "auto"))
    (source / "new.h").write_text("")
    keys.append(cache.key_of(order, "auto"))
    monkeypatch.setattr(cache, "__version__", "of another time")
    keys.append(cache.key_of(order, "auto"))
    assert None not in keys
    assert len(set(keys)) == len(keys) == 8


def test_types_from_headers_are_known_by_name_size_and_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of every header of the package, behind links too; and no other is taken for them."""
    order, build = Order((), {}), tmp_path / "modules" / "build"
    monkeypatch.setattr(source_of_types, "HEADERS", build)
    monkeypatch.setattr(source_of_types, "BTF", tmp_path / "none")
    assert cache.key_of(order, "headers") is None
    shared = tmp_path / "shared" / "net"
    shared.mkdir(parents=True)
    (build / "include" / "generated").mkdir(parents=True)
    (build / "include" / "net").symlink_to(shared)
    (shared / "back").symlink_to(build / "include")
    config, header = build / "include" / "generated" / "autoconf.h", shared / "sock.h"
    config.write_text("1")
    header.write_text("1")
    keys = [cache.key_of(order, "headers")]
    assert cache.key_of(order, "auto") == keys[0]
    assert cache.key_of(order, "btf") is None

    config.write_text("22")
    keys.append(cache.key_of(order, "headers"))
    os.utime(header, ns=(0, 1009))
    keys.append(cache.key_of(order, "headers"))
    header.rename(shared / "tcp.h")
    keys.append(cache.key_of(order, "headers"))
    assert None not in keys
    assert len(set(keys)) == len(keys) == 4
