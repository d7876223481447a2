# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The image is built by podman and run with the rights of compose.yaml: alerts of this host, health, an end.

The base is a Debian of this machine's archive under the name that the Dockerfile has. Made every second day: it takes
a minute and a half.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.live.containers import LEFT_OUT, REPOSITORY, Podman, folder_of_a_pod, podman, services
from tests.live.monitoring import thresholds
from tests.live.ports import free_port
from tests.live.sockets import port, tcp_pair
from tests.live.waiting import until
from tests.vm.packages import PackagesError

THRESHOLD = 20_011
DAY_S = 86_400


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Podman]:
    if int(time.time() // DAY_S) % 2 and not pytestconfig.getoption("--image"):
        pytest.skip("tomorrow's: --image builds it today")
    with ExitStack() as stack:
        try:
            yield podman(stack, tmp_path_factory.mktemp("podman"))
        except PackagesError as reason:
            pytest.skip(str(reason))


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
    more = {"thresholds": thresholds(THRESHOLD), "hold": "0s", "stalled": {"after": "0s"}}
    image.start("monitor", services()["monitor"], settings_of("monitor", tmp_path, url, **more))
    wanted = {"event": "exceeded", "local_port": str(port(server)), "remote_port": str(port(client))}

    def told() -> list[dict[str, Any]]:
        return requests.get(f"{url}/store.json", params=wanted, timeout=30).json()  # type: ignore[no-any-return]

    (alert,) = until(told, lambda: image.run("logs", "monitor").stderr)
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
def test_the_store_takes_a_volume_as_kubernetes_makes_it(image: Podman, tmp_path: Path) -> None:
    volume = folder_of_a_pod(tmp_path / "volume", 970)
    settings = ["./compose/store.yaml:/etc/sockbpf/config.yaml:ro", f"{volume}:/var/lib/sockbpf-store"]
    started_store(image, tmp_path, "pod", volumes=settings, user="970:970")
    assert (volume / "alerts.sqlite").stat().st_uid == 970


@pytest.mark.timeout(400)
def test_nothing_that_builds_is_in_the_image(image: Podman) -> None:
    search = "which cc gcc g++ make pip pip3 git; ls /opt/sockbpf/bin/pip* /usr/include/stdio.h; echo none"
    ran = image.run("run", "--rm", *LEFT_OUT, "--network=none", "--entrypoint=sh", "sockbpf", "-c", search)
    assert ran.stdout == "none\n"
