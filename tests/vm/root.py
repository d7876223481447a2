# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a guest's disks are made of: the tools, one root for all kernels of a machine, and each kernel's own files.

The root is a plain Debian 12 with BCC, unpacked into an image that no guest can write to.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.vm.kernels import Kernel
from tests.vm.machines import MACHINES, Machine
from tests.vm.packages import CACHE, ROOT_SUITE, TOOLS_SUITE, closure, installed, made_once, unpack

TOOLS = (*(machine.package for machine in MACHINES), "kmod")
SYSTEM = (
    *("bash", "coreutils", "dash", "findutils", "grep", "sed", "util-linux", "mount"),
    *("diffutils", "dpkg", "libc-bin", "systemd-standalone-sysusers"),
    *("bpftool", "iproute2", "kmod", "procps", "python3", "python3-bpfcc"),
)
LIBRARIES = ("hypothesis", "pydantic", "pyroute2", "pytest", "pytest-timeout", "pyyaml", "requests", "rich")
"""In the versions that the tests run with here."""

SITE = Path("usr/local/lib/python3.11/dist-packages")
FIRST_MODULES = ("virtio_pci", "virtio_blk", "ext4", "overlay")
"""What the first moments need; the rest is loaded from the kernel's disk."""


@dataclass(frozen=True, slots=True)
class Booted:
    """The files one kernel is booted with."""

    image: Path
    release: str
    busybox: Path
    modules: tuple[Path, ...]
    """For the first moments, in the order they are to be loaded."""

    disk: Path


def tools() -> Path:
    """Return the folder that qemu and depmod lie in, with every library they want."""

    def make(folder: Path) -> None:
        unpack(closure(TOOLS_SUITE, TOOLS), folder)

    return made_once(CACHE / "tools", [TOOLS_SUITE, TOOLS], make)


def tool(path: str) -> list[str]:
    """Return the beginning of a command that runs one of the tools with its own libraries, not this machine's."""
    usr = tools() / "usr"
    loader = usr / "lib64" / "ld-linux-x86-64.so.2"
    libraries = usr / "lib" / "x86_64-linux-gnu"
    return [str(loader), "--library-path", str(libraries), "--argv0", Path(path).name, str(usr / path)]


def busybox(machine: Machine) -> Path:
    """Return the program of the guest's first moments."""
    wanted = (TOOLS_SUITE, ("busybox-static",), "busybox", machine.debian)

    def make(folder: Path) -> None:
        unpack(closure(*wanted), folder)

    return made_once(CACHE / "busybox" / machine.debian, wanted, make) / "usr" / "bin" / "busybox"


def system_disk(machine: Machine) -> Path:
    """Return the image of the root that all kernels of a machine share."""
    versions = sorted(f"{name}=={importlib.metadata.version(name)}" for name in LIBRARIES)

    def make(folder: Path) -> None:
        root = folder / "root"
        packages = closure(ROOT_SUITE, SYSTEM, architecture=machine.debian)
        unpack(packages, root)
        (root / "var/lib/dpkg/status").write_text(installed(packages))
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc" / "group").write_text("root:x:0:\n")
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")
        (root / "etc" / "resolv.conf").write_text("")
        for mount_point in ("dev", "proc", "sys", "run", "tmp", "checkout"):
            (root / mount_point).mkdir(exist_ok=True)
        (root / SITE).mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
        binary = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
        platform = [f"--platform={name}" for name in machine.wheels]
        subprocess.run([*pip, *binary, *platform, f"--target={root / SITE}", *versions], check=True)
        compile_python(root)
        make_disk(root, folder / "disk")
        shutil.rmtree(root)

    recipe = [ROOT_SUITE, SYSTEM, versions, machine.debian, machine.wheels]
    return made_once(CACHE / "system" / machine.debian, recipe, make) / "disk"


def compile_python(root: Path) -> None:
    """Compile the root's Python by this very Python, if it is of that version: no processor's is in what it makes.

    Under emulation that would take longer than the tests. Some of it is there to fail.
    """
    if sys.version_info[:2] != (3, 11):
        return
    compile_all = [sys.executable, "-m", "compileall", "-q", "-s", str(root), "-p", "/"]
    libraries = [root / "usr/lib/python3", root / "usr/lib/python3.11", root / SITE]
    subprocess.run([*compile_all, *libraries], stdout=subprocess.DEVNULL, check=False)


def kernel_files(kernel: Kernel) -> Booted:
    """Return what the kernel is booted with: its modules, and its headers if they are wanted, are on its disk."""
    names = [name for name in (kernel.metapackage, kernel.headers) if name]

    def make(folder: Path) -> None:
        root = folder / "root"
        wanted = "linux-(image|binary|base|modules|headers|kbuild)-"
        unpack(closure(kernel.suite, names, wanted, kernel.machine.debian), root)
        image = next((root / "boot").glob("vmlinuz-*"), None) or next(root.glob("usr/lib/modules/*/vmlinuz"))
        (folder / "image").write_bytes(kernel.machine.kernel(image.read_bytes()))
        release = next((root / "usr/lib/modules").iterdir()).name
        (folder / "release").write_text(release)
        subprocess.run([*tool("sbin/depmod"), "-b", str(root), release], check=True)
        copy_modules(root / "usr/lib/modules" / release, folder / "modules")
        shutil.rmtree(root / "boot", ignore_errors=True)
        make_disk(root, folder / "disk")
        shutil.rmtree(root)

    made = made_once(CACHE / "kernels" / kernel.name, [kernel.suite, names, FIRST_MODULES], make)
    modules = tuple(sorted((made / "modules").iterdir()))
    release = (made / "release").read_text()
    return Booted(made / "image", release, busybox(kernel.machine), modules, made / "disk")


def copy_modules(modules: Path, into: Path) -> None:
    """Copy the first modules and what they need, uncompressed, named in the order of loading."""
    into.mkdir()
    depends = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        depends[path] = needed.split()
    by_name = {module_name(path): path for path in depends}
    paths: list[str] = []
    for name in FIRST_MODULES:
        if name in by_name:  # else it is built in
            paths += [*reversed(depends[by_name[name]]), by_name[name]]
    for place, path in enumerate(dict.fromkeys(paths)):
        packed = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}.get(Path(path).suffix)
        with (into / f"{place:02}-{module_name(path)}.ko").open("wb") as out:
            unpacking = [packed, "-dc"] if packed else ["cat"]
            subprocess.run([*unpacking, modules / path], stdout=out, check=True)


def module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def make_disk(root: Path, image: Path) -> None:
    """Write the folder into an ext4 image, a little larger than it must be."""
    used = subprocess.run(["du", "-sm", str(root)], capture_output=True, text=True, check=True).stdout
    size = int(int(used.split()[0]) * 1.25) + 64
    options: Iterable[str] = ("-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root))
    subprocess.run(["mke2fs", *options, str(image), f"{size}m"], stdout=subprocess.DEVNULL, check=True)
