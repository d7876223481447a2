# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""TLS: whose certificate is good, to whom ours is shown."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sockbpf.delivery.transport import TransportError
from tests.unit.http_servers import (
    SECRET_OPTIONS,
    TOLD,
    destination,
    drip,
    failure,
    http_server,
    redirect_to,
    say,
    server_context,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("plain_environment")


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with http_server(say(200), family=socket.AF_INET6) as served:
        with destination(f"http://[::1]:{served.port}/alert") as http_get:
            http_get.send(TOLD)
        assert served.query() == list(TOLD.items())


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: ssl.SSLContext) -> None:
    with http_server(say(200), tls=tls) as served:
        error = failure(f"https://user:s3cret@127.0.0.1:{served.port}/alert?token=s3cret")
    assert f"GET {served.url}: SSLError: certificate refused, " in str(error)
    assert served.targets == []


def test_a_certificate_of_ones_own_authority_is_good(tls: ssl.SSLContext, ca_file: Path) -> None:
    with http_server(say(200), tls=tls) as served, destination(served.url, ca_file=ca_file) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_of_the_environments_bundle_is_good(
    tls: ssl.SSLContext, ca_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(ca_file))
    with http_server(say(200), tls=tls) as served, destination(served.url) as http_get:
        monkeypatch.delenv(name)
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


def test_ones_own_authority_counts_and_not_that_of_the_environment(
    tls: ssl.SSLContext, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with http_server(say(200), tls=tls) as served:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
        with destination(served.url, ca_file=ca_file) as http_get:
            http_get.send(TOLD)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
        assert "certificate refused" in str(failure(served.url, ca_file=other))
    assert len(served.targets) == 1


def test_a_certificate_of_another_name_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    other = server_context(authority.issue_cert("receiver.example", "127.0.0.2"))
    with http_server(say(200), tls=other) as served:
        error = failure(f"{served.url}?s3cret", ca_file=ca_file, **SECRET_OPTIONS)
    assert "/alert: SSLError" in str(error)
    assert served.targets == []


def test_a_certificate_that_has_run_out_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    old = authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=timezone.utc))
    with http_server(say(200), tls=server_context(old)) as served:
        error = failure(f"{served.url}?s3cret", ca_file=ca_file)
    assert str(error).endswith("/alert: SSLError: certificate refused, certificate has expired")
    assert served.targets == []


@pytest.fixture(scope="module")
def asking(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server of 127.0.0.1 speaks TLS with that asks for a certificate of the client."""
    context = server_context(authority.issue_cert("127.0.0.1"))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_files(authority: trustme.CA, folder: Path) -> dict[str, Any]:
    client = authority.issue_cert("client@sockbpf")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return {"client_cert": folder / "client.pem", "client_key": folder / "key.pem"}


@pytest.mark.parametrize("in_one_file", [True, False])
def test_a_receiver_that_asks_for_a_certificate_gets_ours(
    authority: trustme.CA, asking: ssl.SSLContext, ca_file: Path, tmp_path: Path, in_one_file: bool
) -> None:
    files = client_files(authority, tmp_path)
    files = {"client_cert": tmp_path / "both.pem"} if in_one_file else files
    with (
        http_server(say(200), tls=asking) as served,
        destination(served.url, ca_file=ca_file, **files) as http_get,
    ):
        for _ in range(3):
            http_get.send(TOLD)
    assert served.peers == [[("email", "client@sockbpf")]] * 3
    assert (len(served.targets), len(served.connections)) == (3, 1)


def test_without_the_certificate_that_is_asked_for_nothing_is_delivered(
    asking: ssl.SSLContext, ca_file: Path, tmp_path: Path
) -> None:
    with http_server(say(200), tls=asking) as served:
        url = f"{served.url}?s3cret"
        failure(url, ca_file=ca_file, **SECRET_OPTIONS)
        failure(url, ca_file=ca_file, **client_files(trustme.CA(), tmp_path), **SECRET_OPTIONS)
    assert served.targets == []


def test_the_certificate_of_the_client_is_shown_to_no_other_host(
    authority: trustme.CA, asking: ssl.SSLContext, ca_file: Path, tmp_path: Path
) -> None:
    curious = server_context(authority.issue_cert("127.0.0.1"))
    authority.configure_trust(curious)
    curious.verify_mode = ssl.CERT_OPTIONAL
    with (
        http_server(say(200), tls=curious) as other,
        http_server(lambda handler: redirect_to(handler, other.url), tls=asking) as served,
        destination(served.url, ca_file=ca_file, **client_files(authority, tmp_path)) as http_get,
    ):
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert [len(peer) for peer in served.peers] == [1, 1]
    assert other.peers == [[], []]


@pytest.mark.parametrize("gone", ["ca.pem", "client.pem", "key.pem"])
def test_a_file_that_is_gone_since_the_start_is_a_failure_like_others(
    authority: trustme.CA, asking: ssl.SSLContext, tmp_path: Path, gone: str
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files: dict[str, Any] = {"ca_file": tmp_path / "ca.pem", **client_files(authority, tmp_path)}
    with http_server(say(200), tls=asking) as served, destination(served.url, **files) as http_get:
        content = (tmp_path / gone).read_bytes()
        (tmp_path / gone).unlink()
        with pytest.raises(TransportError) as caught:
            http_get.send(TOLD)
        assert str(caught.value) == f"GET {served.url}: OSError: a certificate, key or CA file is not there"
        (tmp_path / gone).write_bytes(content)
        http_get.send(TOLD)


def test_drop_by_drop_over_tls_is_cut(tls: ssl.SSLContext, ca_file: Path) -> None:
    over = threading.Event()
    with http_server(lambda handler: drip(handler.wfile.write, over), tls=tls) as served:
        error = failure(served.url, timeout_s=0.5, ca_file=ca_file)
        over.set()
    assert str(error).endswith("/alert: no answer within 0.5 s")


def test_http_spoken_to_a_tls_port_and_the_other_way_round(tls: ssl.SSLContext) -> None:
    with http_server(say(200), tls=tls) as served:
        failure(served.url.replace("https:", "http:"))
    with http_server(say(200)) as served:
        failure(served.url.replace("http:", "https:"))
