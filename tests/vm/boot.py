# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Boot a stock kernel under emulation and run one command of the checkout in it.

Emulation, not KVM: it is to be had wherever the tests run. Nothing is shared with the guest: it has disks that it
cannot write to, unless one is kept for the next boot, and two serial lines, one for what the kernel says and one for
what the command says.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.kernels import Kernel
from tests.vm.machines import Machine
from tests.vm.root import Booted, kernel_files, system_disk, tool, tools

REPOSITORY = Path(__file__).parents[2]
GUEST = Path(__file__).parent / "guest"
"""The two scripts that are the guest's first process, before and after its root is there."""

BOOT_S = 180
"""How long a boot may take besides the command; it takes 5 to 20 where nothing else runs."""

MEMORY_MB = 1024
CPUS = 2
LAST_LINE = re.compile(r"\n?@ended (\d+) (\d+)\n\Z")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: `code` is None if the guest did not get as far as the command's end."""

    kernel: str
    release: str
    code: int | None
    output: str
    console: str
    boot_s: float
    """Until the command began; 0 if it never did."""

    command_s: float
    whole_s: float


def boot(kernel: Kernel, command: str, timeout_s: int = 90, kept: Path | None = None) -> Outcome:
    """Run a shell command in the checkout under this kernel, for at most `timeout_s`.

    `kept` is the image of a disk that the guest writes to, at /kept: `kept_disk` makes one.
    """
    files = kernel_files(kernel)
    root = system_disk(kernel.machine)
    with tempfile.TemporaryDirectory(prefix="sockbpf-vm-") as name:
        folder = Path(name)
        (folder / "initramfs").write_bytes(initramfs(files))
        with (folder / "checkout").open("wb") as out:
            pack_checkout(out, command, timeout_s)
        begun = time.monotonic()
        emulator = qemu(kernel.machine, files, root, folder, kept)
        with subprocess.Popen(emulator, stdin=subprocess.DEVNULL) as machine:
            try:
                machine.wait(BOOT_S + timeout_s)
            except subprocess.TimeoutExpired:
                pass  # what it wrote says how far it got
            finally:
                machine.kill()
        whole_s = time.monotonic() - begun
        console = (folder / "console").read_text(errors="replace")
        output = (folder / "output").read_text(errors="replace")
    return judged(kernel.name, files.release, console, output, whole_s)


def judged(kernel: str, release: str, console: str, output: str, whole_s: float) -> Outcome:
    """Read what the guest wrote: its first line is its uptime, its last how the command ended."""
    first = re.match(r"@began ([\d.]+)\n", output)
    boot_s = float(first[1]) if first else 0.0
    last = LAST_LINE.search(output)
    return Outcome(
        kernel,
        release,
        int(last[1]) if last else None,
        output[first.end() if first else 0 : last.start() if last else None],
        console,
        boot_s,
        float(last[2]) / 100 - boot_s if last else 0.0,
        whole_s,
    )


def kept_disk(image: Path, size_mb: int = 64, content: Path | None = None) -> Path:
    """Make the image of a disk, empty but for the content of a folder, with a journal, as a host's own."""
    filled = ["-d", str(content)] if content else []
    subprocess.run(["mke2fs", "-q", "-t", "ext4", *filled, str(image), f"{size_mb}m"], check=True)
    return image


def qemu(machine: Machine, files: Booted, root: Path, folder: Path, kept: Path | None) -> list[str]:
    """Return the command line of the emulator."""
    disks = {"root": root, "kernel": files.disk, "checkout": folder / "checkout"}
    share = tools() / "usr" / "share"
    # What the kernel does not know is in the environment of `run`.
    serial = f"console={machine.serial}0 output={machine.serial}1"
    line = [
        *tool(machine.emulator),
        *("-L", str(share / "qemu"), "-L", str(share / "seabios")),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-accel", "tcg,thread=multi", *machine.options, "-smp", str(CPUS), "-m", str(MEMORY_MB)),
        *("-kernel", str(files.image), "-initrd", str(folder / "initramfs")),
        *("-append", f"{serial} panic=-1 quiet loglevel=4 {machine.parameters}"),
        *("-serial", f"file:{folder / 'console'}", "-serial", f"file:{folder / 'output'}"),
    ]
    for name, image in disks.items():
        line += ["-drive", f"file={image},format=raw,if=none,readonly=on,id={name}"]
        line += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
    if kept:
        line += ["-drive", f"file={kept},format=raw,if=none,id=kept"]
        line += ["-device", "virtio-blk-pci,drive=kept,serial=kept"]
    return line


def initramfs(files: Booted) -> bytes:
    """Return the archive of the guest's first moments: busybox, the first modules, the scripts."""
    content = {"bin/busybox": files.busybox.read_bytes()}
    content |= {f"modules/{module.name}": module.read_bytes() for module in files.modules}
    content |= {name: (GUEST / name).read_bytes() for name in ("init", "run")}
    folders = ("bin", "dev", "modules", "new", "proc", "sys")
    entries = [cpio_entry(name, b"", 0o40755) for name in folders]
    entries += [cpio_entry(name, data, 0o100755) for name, data in content.items()]
    return b"".join([*entries, cpio_entry("TRAILER!!!", b"", 0)])


def cpio_entry(name: str, data: bytes, mode: int) -> bytes:
    """Return one file of a "newc" archive; Documentation/driver-api/early-userspace/buffer-format.rst."""
    path = name.encode() + b"\0"
    #         ino  mode  uid gid nlink mtime size    device and rdevice  name's size  check
    numbers = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0]
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


def pack_checkout(out: io.BufferedIOBase, command: str, timeout_s: int) -> None:
    """Write what git knows of the checkout, as it stands now, and the command: nothing else of this machine."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(REPOSITORY),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        capture_output=True,
        check=True,
    ).stdout.decode()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(set(listed.split("\0")) - {""}):
            if (REPOSITORY / name).is_file():
                tar.add(REPOSITORY / name, f"checkout/{name}")
        for name, text in (("command", command + "\n"), ("timeout", f"{timeout_s}\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
