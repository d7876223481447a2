# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The image is built by podman and run with the rights of compose.yaml: alerts of this host, health, an end.

The base is a Debian of this machine's archive under the name that the Dockerfile has. Made every second day: it takes
a minute and a half.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.live.containers import LEFT_OUT, REPOSITORY, Podman, documented, folder_of_a_pod, podman, services
from tests.live.monitoring import thresholds
from tests.live.ports import free_port
from tests.live.sockets import port, tcp_pair
from tests.live.turns import today
from tests.live.waiting import until
from tests.vm.packages import PackagesError

THRESHOLD = 20_011
SHORT = {"thresholds": thresholds(THRESHOLD), "hold": "0s", "stalled": {"after": "0s"}}
STORES_USER = 970


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Podman]:
    if today() % 2 and not pytestconfig.getoption("--image"):
        pytest.skip("tomorrow's: --image builds it today")
    with ExitStack() as stack:
        try:
            yield podman(stack, tmp_path_factory.mktemp("podman"))
        except PackagesError as reason:
            pytest.skip(str(reason))


def told(url: str, client: socket.socket, server: socket.socket) -> list[dict[str, Any]]:
    """Return the alerts in the store of this connection's receive queue; none while the store does not answer."""
    wanted = {"event": "exceeded", "local_port": str(port(server)), "remote_port": str(port(client))}
    with suppress(requests.ConnectionError):
        return requests.get(f"{url}/store.json", params=wanted, timeout=30).json()  # type: ignore[no-any-return]
    return []


def settings_of(service: str, folder: Path, url: str, **more: Any) -> Path:
    """Write the settings of compose.yaml for a service, with another address of the store, and more."""
    settings = yaml.safe_load((REPOSITORY / "compose" / f"{service}.yaml").read_text())
    settings["url"] = f"{url}/alert"
    for key, value in more.items():
        settings[key] = settings.get(key, {}) | value if isinstance(value, dict) else value
    path = folder / f"{service}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def started_store(image: Podman, folder: Path, name: str, **more: Any) -> str:
    """Start the store of compose.yaml; return its address once it is healthy."""
    address = f"127.0.0.1:{free_port()}"
    service = yaml.safe_load(yaml.safe_dump(services()["store"]).replace("127.0.0.1:8080", address)) | more
    image.start(name, service, settings_of("store", folder, f"http://{address}", store={"listen": address}))
    until(lambda: image.passes(name, service), lambda: image.run("logs", name).stderr)
    return f"http://{address}"


@pytest.mark.timeout(400)
def test_a_hung_socket_of_the_host_is_told_and_kept(image: Podman, tmp_path: Path, stack: ExitStack) -> None:
    url = started_store(image, tmp_path, "store")
    client, server = tcp_pair(stack)
    client.sendall(bytes(THRESHOLD + 1))
    image.start("monitor", services()["monitor"], settings_of("monitor", tmp_path, url, **SHORT))
    (alert,) = until(lambda: told(url, client, server), lambda: image.run("logs", "monitor").stderr)
    assert (int(alert["size"]), int(alert["pid"])) == (THRESHOLD + 1, os.getpid())
    assert image.health("monitor") == "healthy"

    pid = int(image.inspect("monitor", "{{.State.Pid}}"))
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: image.health("monitor") == "unhealthy", "unhealthy")
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: image.health("monitor") == "healthy", "healthy again")
    for name in ("monitor", "store"):
        image.run("stop", "--time=30", name)
        assert image.inspect(name, "{{.State.ExitCode}}") == "0", image.run("logs", name).stderr


@pytest.mark.timeout(400)
def test_one_container_as_documented_has_a_store_of_its_own(
    image: Podman, tmp_path: Path, stack: ExitStack
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = settings_of("monitor", tmp_path, url, store={"listen": url.removeprefix("http://")}, **SHORT)
    client, server = tcp_pair(stack)
    client.sendall(bytes(THRESHOLD + 1))
    image.run("run", "--detach", "--name=both", *LEFT_OUT, *documented(settings))
    (alert,) = until(lambda: told(url, client, server), lambda: image.run("logs", "both").stderr)
    assert int(alert["pid"]) == os.getpid()
    pid = image.inspect("both", "{{.State.Pid}}")
    of_threads = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    assert STORES_USER in {
        Path(f"/proc/{child}").stat().st_uid for children in of_threads for child in children
    }
    image.run("stop", "--time=30", "both")


@pytest.mark.timeout(400)
def test_the_store_takes_a_volume_as_kubernetes_makes_it(image: Podman, tmp_path: Path) -> None:
    volume = folder_of_a_pod(tmp_path / "volume", STORES_USER)
    settings = ["./compose/store.yaml:/etc/sockbpf/config.yaml:ro", f"{volume}:/var/lib/sockbpf-store"]
    started_store(image, tmp_path, "pod", volumes=settings, user=f"{STORES_USER}:{STORES_USER}")
    assert (volume / "alerts.sqlite").stat().st_uid == STORES_USER


@pytest.mark.timeout(400)
def test_nothing_that_builds_is_in_the_image(image: Podman) -> None:
    search = "which cc gcc g++ make pip pip3 git; ls /opt/sockbpf/bin/pip* /usr/include/stdio.h; echo none"
    ran = image.run("run", "--rm", *LEFT_OUT, "--network=none", "--entrypoint=sh", "sockbpf", "-c", search)
    assert ran.stdout == "none\n"
