# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How the destination `bigquery` gets its tokens: by a key, the environment or the machine; no secret is shown."""

from __future__ import annotations

import json
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.compute_engine import _metadata

from sockbpf.delivery.transport import TransportError, UnusableError
from tests.unit.bigquery_front import ALERTS, TABLE, destination, failed, front
from tests.unit.http_servers import body_of, http_server, say, server_context


def key_file(folder: Path, token_url: str) -> Path:
    """Write the key of a service account that gets its tokens there."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = {
        "type": "service_account", "client_email": "monitor@my-project.example", "token_uri": token_url,
        "private_key": pem.decode(), "private_key_id": "s3cret-key", "project_id": "my-project",
    }  # fmt: skip
    (folder / "key.json").write_text(json.dumps(made))
    return folder / "key.json"


@pytest.mark.parametrize("by", ["file", "environment"])
def test_it_logs_in_by_a_key_that_is_never_shown(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    (tmp_path / "netrc").write_text("default login monitor password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assertions: list[str] = []

    def give(handler: BaseHTTPRequestHandler) -> None:
        assertions.extend(parse_qs(body_of(handler).decode())["assertion"])
        if by == "file" and len(assertions) == 1:
            say(503, b"not now")(handler)
        else:
            said = {"access_token": "s3cret-token", "expires_in": 3600, "token_type": "Bearer"}
            say(200, json.dumps(said).encode(), Content_Type="application/json")(handler)

    tls = server_context(ca.issue_cert("127.0.0.1"))
    with http_server(give, tls=tls) as tokens, front(tls=tls) as at:
        path = key_file(tmp_path, f"https://127.0.0.1:{tokens.port}/token")
        if by == "environment":
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        keys = {"credentials": str(path)} if by == "file" else {}
        with closing(destination(at.url, **keys)) as its:
            shown = repr(vars(its))
            for _ in range(2):
                its.send_all(ALERTS)
    assert {each["authorization"] for each in at.headers} == {"Bearer s3cret-token"}
    assert sorted(at.seqs()) == list(range(16))
    private = json.loads(path.read_text())["private_key"].splitlines()[1]
    for secret in ("s3cret", private, assertions[0]):
        assert secret not in caplog.text + shown


def test_the_machine_is_asked_for_credentials_by_the_first_alert_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a reload would wait for a machine that is not in Google's cloud."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    asked: list[str] = []
    flavors: list[str] = ["", "Google"]

    def tell(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        said = {"access_token": "s3cret-token", "expires_in": 3600, "token_type": "Bearer"}
        said |= {"email": "monitor@my-project.iam.gserviceaccount.com", "scopes": []}
        flavor = flavors.pop(0) if flavors else "Google"
        say(200, json.dumps(said).encode(), Content_Type="application/json", Metadata_Flavor=flavor)(handler)

    tls = server_context(ca.issue_cert("127.0.0.1"))
    with http_server(tell) as machine, front(tls=tls) as at:
        host = f"127.0.0.1:{machine.port}"
        monkeypatch.setenv("GCE_METADATA_IP", host)
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
        monkeypatch.setattr(_metadata, "_GCE_PRODUCT_NAME_FILE", "/dev/null")
        with closing(destination(at.url)) as its:
            assert asked == []
            with pytest.raises(TransportError, match="no credentials for Google Cloud") as caught:
                its.send_all(ALERTS)
            assert not caught.value.permanent
            assert its.send_all(ALERTS) == {}
    assert {each["authorization"] for each in at.headers} == {"Bearer s3cret-token"}


def test_a_token_that_is_not_given_is_a_failed_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        body_of(handler)
        said = {"error": "invalid_grant", "error_description": "account not found"}
        say(400, json.dumps(said).encode(), Content_Type="application/json")(handler)

    with http_server(refuse) as tokens:
        path = key_file(tmp_path, f"http://127.0.0.1:{tokens.port}/token")
        error = failed("https://127.0.0.1:9", credentials=str(path))
    assert not error.permanent
    assert str(error) == f"bigquery {TABLE}: RefreshError"


def test_credentials_that_are_none_are_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.json").write_text('{"type": "service_account", "private_key": "s3cret"}')
    with pytest.raises(UnusableError, match="its credentials cannot be used") as caught:
        destination("", credentials=str(tmp_path / "key.json"))
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(UnusableError, match="no credentials for Google Cloud"):
        destination("")


def test_no_credentials_go_by_http(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected https beside credentials"):
        destination("http://127.0.0.1:9", credentials=str(key_file(tmp_path, "http://127.0.0.1:9")))
