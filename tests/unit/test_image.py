# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The image, which only a Docker host can build, agrees with what is tested: the package and the service."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def text(name: str) -> str:
    return (REPOSITORY / name).read_text()


def project() -> set[str]:
    """Return what the project's file says a package is made of, the top of the checkout for each."""
    folders = re.search(r"package-dir = \{.*= \"(\w+)\" \}", text("pyproject.toml"))
    readme = re.search(r"(?m)^readme = \"(.*)\"$", text("pyproject.toml"))
    licences = re.search(r"(?m)^license-files = \[(.*)\]$", text("pyproject.toml"))
    assert folders
    assert readme
    assert licences
    named = {name.split("/")[0] for name in re.findall(r'"(.*?)"', licences[1])}
    return {"pyproject.toml", "sockbpf", folders[1], readme[1], *named}


OF_THE_IMAGE = {"config.yaml", "constraints.txt", "package/requirements.txt"}
"""What the image takes besides the package: its settings, and the versions it is made of."""


def test_the_image_is_made_of_the_package_and_the_settings() -> None:
    lines = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text("Dockerfile"))
    copied = {name for line in lines for name in line.split()}
    assert copied == project() | OF_THE_IMAGE
    assert all((REPOSITORY / name).exists() for name in copied)


def test_nothing_else_is_sent_to_the_builder() -> None:
    lines = [line for line in text(".dockerignore").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == project() | OF_THE_IMAGE


def test_the_container_has_the_capabilities_of_the_service() -> None:
    container = re.search(r"--cap-drop=ALL \\\n +--cap-add=\{(.*?)\}", text("docs/container.md"))
    service = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", text("systemd/sockbpf.service"))
    assert container
    assert service
    assert [f"CAP_{name}" for name in container[1].split(",")] == service[1].split()
