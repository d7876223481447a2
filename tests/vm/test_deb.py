# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The Debian package: built here, on a fresh Debian 12 and 13 under their own systemd, from installation to purge.

One of the releases and arm64 has its turn each day; `--every-choice` tries all.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sockbpf import __version__
from tests.live.systemd import Systemd
from tests.live.waiting import until
from tests.vm.boot import boot, kept_disk
from tests.vm.fresh_hosts import SUITES, apt, built_package, fresh_host, skip_unless_has_turn
from tests.vm.hanging import HUNG, started
from tests.vm.kernels import named

BEFORE = "0.0.9"
"""The number of the version before."""

UNIT = "sockbpf.service"
SETTINGS = "/etc/sockbpf/config.yaml"
ELSEWHERE = "http://127.0.0.1:9009/alert"

RECEIVER = """
import http.server
class Taken(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/tmp/taken", "a") as file:
            file.write(self.path + "\\n")
        self.send_response(204)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", 9009), Taken).serve_forever()
"""
ON_ARM64 = """\
set -o pipefail
dpkg -i /kept/sockbpf.deb 2>&1 | grep -v 'files list file for package'  # the root was unpacked without dpkg
cd /
getent passwd sockbpf-store
sockbpf --version
sockbpf check -c /etc/sockbpf/config.yaml
dpkg --purge sockbpf 2>&1 | grep -v 'files list file for package'
! ls -d /usr/lib/sockbpf /etc/sockbpf /var/lib/sockbpf
"""
KEPT = re.compile(
    "/(var/([.]updated|backups|cache|lib/(apt|dpkg|systemd|python)|log)|etc/(alternatives|.*-|[.]updated|inputrc|hosts|networks|python3)"
    "|usr/local/lib/python3[.0-9]*)(/.*)?|.*/__pycache__(/.*)?"
)
"""What apt, dpkg and systemd keep, and what the packages that ours needs have made: Python's, for one."""


@dataclass(frozen=True)
class Packages:
    """The package as it is, and the same as the version before."""

    before: Path
    now: Path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Build them."""
    now = built_package()
    folder = tmp_path_factory.mktemp("before")
    tree, before = folder / "tree", folder / f"sockbpf_{BEFORE}_amd64.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", now, tree], check=True)
    rewrite(tree / "DEBIAN/control", r"(?m)(?<=^Version: ).*", BEFORE)
    rewrite(tree / "usr/lib/sockbpf/lib/common/sockbpf/__init__.py", r'(?<=__version__ = ").*(?=")', BEFORE)
    subprocess.run(["dpkg-deb", "--build", "-Znone", tree, before], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return Packages(before, now)


def rewrite(file: Path, pattern: str, text: str) -> None:
    new, count = re.subn(pattern, text, file.read_text())
    assert count == 1
    file.write_text(new)


def put(host: Systemd, package: Path) -> str:
    """Install a package as an operator does who has its file; return what was said."""
    shutil.copy(package, host.file("/tmp"))
    return apt(host, "install", "--no-install-recommends", f"/tmp/{package.name}")


def files(host: Systemd) -> set[str]:
    """Return every path on the host's disk but those of its packages, which are listed, and what these keep."""
    found = host.run("find", "/", "-xdev", "-not", "-path", "/proc/*").splitlines()
    listed = host.run("sh", "-c", "cat /var/lib/dpkg/info/*.list").splitlines()
    links = tuple(f"/{name}/" for name in ("bin", "lib", "lib64", "sbin"))  # of /usr, in older lists
    known = {f"/usr{path}" if path.startswith(links) else path for path in listed}
    return {path for path in found if path not in known and not KEPT.fullmatch(path)}


def status(host: Systemd) -> dict[str, object]:
    told = json.loads(host.run("sockbpf", "status", "--json"))
    assert isinstance(told, dict)
    return told


def log(host: Systemd) -> str:
    return host.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager", "-n", "60")


def watches(host: Systemd, version: str) -> None:
    """Wait until the service watches, in this version."""
    until(lambda: host.shown(UNIT, "StatusText").startswith("watching"), lambda: log(host))
    assert status(host)["version"] == version


def taken(host: Systemd) -> str:
    file = host.file("/tmp/taken")
    return file.read_text() if file.exists() else ""


def test_it_has_no_fault_that_lintian_knows(packages: Packages) -> None:
    said = subprocess.run(
        ["lintian", "--fail-on", "error", packages.now], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES)
def test_from_installation_to_purge(suite: str, packages: Packages, pytestconfig: pytest.Config) -> None:
    skip_unless_has_turn(suite, pytestconfig)
    with fresh_host(suite) as host:
        fresh = files(host)
        put(host, packages.before)
        watches(host, BEFORE)
        assert "\nready\n" in host.run("sockbpf", "check", "-c", SETTINGS)
        assert host.file(SETTINGS).stat().st_mode & 0o777 == 0o600
        told_by_default(host)
        owed_over_an_upgrade(host, packages.now)
        apt(host, "remove", "sockbpf")
        assert "sockbpf" not in host.run("ps", "-eo", "args", check=False)
        assert ELSEWHERE in host.file(SETTINGS).read_text()
        assert host.file("/var/lib/sockbpf/journal").exists()
        put(host, packages.now)
        a_store_by_itself(host)
        apt(host, "purge", "sockbpf")
        assert sorted(files(host) - fresh) == []
        assert not host.file("/run/sockbpf").exists()
        for name in ("passwd", "group", "shadow"):
            assert "sockbpf" not in host.file(f"/etc/{name}").read_text()


def told_by_default(host: Systemd) -> None:
    """With the settings as shipped a reader that hangs is told to the store, whose it is and why."""
    with started(host, HUNG) as hung:
        assert hung.stdout
        port = hung.stdout.readline().strip()
        (alert,) = until(lambda: stored(host, port), lambda: log(host))
        assert (alert["condition"], alert["comm"], alert["size"]) == ("stalled", "python3", 5003)
        assert alert["reason"]


def a_store_by_itself(host: Systemd) -> None:
    """Run one beside the monitor, whose restart leaves it its database; a purge has to end it too."""
    host.file("/etc/sockbpf/store.yaml").write_text("url: http://127.0.0.1:8080/alert\n")
    host.run("systemctl", "enable", "--now", "sockbpf-store")
    until(
        lambda: asked(host, "9") == "[]",
        lambda: host.run("systemctl", "status", "sockbpf-store", check=False),
    )
    host.run("systemctl", "restart", UNIT)
    owners = host.run("find", "/var/lib/sockbpf-store", "-printf", "%u\\n").split()
    assert set(owners) == {"sockbpf-store"}


def stored(host: Systemd, port: str) -> list[dict[str, object]]:
    """Return the crossings of a port that the store has."""
    said = asked(host, port)
    return json.loads(said) if said.startswith("[") else []


def asked(host: Systemd, port: str) -> str:
    ask = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
    url = f"http://127.0.0.1:8080/store.json?port={port}&event=exceeded"
    return host.run("/usr/bin/python3", "-c", ask, url, check=False).strip()


def owed_over_an_upgrade(host: Systemd, package: Path) -> None:
    """Upgrade while a receiver is away: the next version sends what is owed, the settings stay as they are."""
    changed = host.file(SETTINGS).read_text().replace("http://127.0.0.1:8080/alert", ELSEWHERE)
    changed = changed.replace("  after: 15s", "  after: 2s")
    host.file(SETTINGS).write_text(changed)
    host.run("systemctl", "restart", UNIT)
    watches(host, BEFORE)
    with started(host, HUNG) as hung:
        assert hung.stdout
        port = hung.stdout.readline().strip()
        crossing = rf"event=exceeded .*local_port={port} .*\bid=(\w+)"
        wanted = until(lambda: re.search(crossing, log(host)), lambda: log(host))
    assert status(host)["owed"]
    put(host, package)
    watches(host, re.findall(r"_([0-9.]+)_", package.name)[0])
    assert host.file(SETTINGS).read_text() == changed
    with started(host, RECEIVER):
        until(
            lambda: re.search(rf"event=exceeded&.*id={wanted[1]}", taken(host)),
            lambda: taken(host) + log(host),
        )
    assert "Traceback" not in log(host)


@pytest.mark.timeout(1200)
def test_on_arm64(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    skip_unless_has_turn("arm64", pytestconfig)
    content = tmp_path / "content"
    content.mkdir()
    shutil.copy(built_package("arm64"), content / "sockbpf.deb")
    disk = kept_disk(tmp_path / "disk", content=content)
    outcome = boot(named("arm64-6.12"), ON_ARM64, timeout_s=400, kept=disk)
    assert outcome.code == 0, outcome.output + outcome.console[-4000:]
    assert f"\nsockbpf {__version__}\n" in outcome.output
    assert "\nready\n" in outcome.output
