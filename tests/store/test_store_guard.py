# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who may not ask is refused, and no answer gives a secret away."""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
import trustme
import yaml

from sockbpf.store.web.guard import Guard
from tests.live.ports import free_port
from tests.store.asking import get, is_problem, post
from tests.store.conftest import StartStore
from tests.store.guarded import FOREIGN, PAGES, TOKEN, ask, raw
from tests.store.serving import Store, told

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS")


PASSWORD = "sesame-open-thyself"
DATA = ("/alert", "/store.json", "/episodes", "/stream", "/metrics", "/openapi.json", "/nothing", "/../etc")


def test_without_the_token_there_is_nothing_but_the_page(locked: Store, trusted: str) -> None:
    wrong = (
        None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer  {TOKEN}",
        f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}, Bearer {TOKEN}",
    )  # fmt: skip
    for path in DATA:
        for each in wrong:
            headers = {} if each is None else {"Authorization": each}
            answer = ask(locked, path, ca=trusted, headers=headers)
            assert is_problem(answer, 401), (path, each)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for method in ("POST", "DELETE", "PUT", "HEAD"):
            assert ask(locked, path, ca=trusted, method=method).status_code == 401
        assert ask(locked, f"{path}?token={TOKEN}", ca=trusted).status_code == 401
        right = ask(locked, path, ca=trusted, headers={"Authorization": f"Bearer {TOKEN}"})
        assert right.status_code not in {401, 403}
        right.close()
    for path in (*PAGES, "/healthz"):
        assert ask(locked, path, ca=trusted).status_code == 200, path
    for path in ("/healthz/", "//healthz", "/healthz/../metrics", "/main.js/", "/%2e/", "/healthz%00"):
        assert ask(locked, path, ca=trusted).status_code in {200, 401}, path
        assert "sockbpf_store" not in ask(locked, path, ca=trusted).text
    alert = ask(locked, "/alert", ca=trusted, params=told(1), headers={"Authorization": f"Bearer {TOKEN}"})
    assert alert.json() == {"new": True}


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Any, Any]] = []
    real = hmac.compare_digest

    def watched(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    said: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        said.append("reached")

    async def send(message: Any) -> None:
        said.append(message.get("status"))

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    guard = Guard(app, token=TOKEN, max_body=1, body_s=1, hosts=frozenset(), open_paths=())
    for given in (b"Bearer wrong", f"Bearer {TOKEN}".encode()):
        headers = [(b"authorization", given)]
        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": headers}
        asyncio.run(guard(scope, receive, send))
    assert said == [401, None, "reached"]
    assert [one for one, _ in compared] == [b"Bearer wrong", f"Bearer {TOKEN}".encode()]


def test_tls_is_of_this_certificate_and_of_today(locked: Store, trusted: str) -> None:
    parts = urlsplit(locked.url)
    address = (parts.hostname or "", parts.port or 0)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{locked.url}/healthz", timeout=9)  # no public authority has signed it
    with pytest.raises(requests.RequestException):
        requests.get(f"{locked.url.replace('https', 'http')}/healthz", timeout=9)
    old = ssl.create_default_context(cafile=trusted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(address, timeout=9) as connection, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(connection, server_hostname="127.0.0.1")
    assert ask(locked, "/healthz", ca=trusted).json() == {"status": "ok"}


def test_a_certificate_of_no_use_is_told_and_ends_it(tmp_path: Path, authority: trustme.CA) -> None:
    one, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    for key in ("other.pem", "cert.pem", "none.pem"):
        said = refused(tmp_path, tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / key))
        assert "tls_" in said, said


def refused(folder: Path, **settings: Any) -> str:
    """Run a store that cannot start; return what it says."""
    config = folder / "refused.yaml"
    store = {"listen": f"127.0.0.1:{free_port()}", "user": "root"} | settings
    store.setdefault("database", f"sqlite:///{folder / 'refused.sqlite'}")
    config.write_text(yaml.safe_dump({"url": "http://127.0.0.1:1/alert", "store": store}))
    command = [sys.executable, "-m", "sockbpf", "store", "-c", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in {1, 2}, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "unexpected" not in ended.stderr
    assert ended.stdout == ""
    return ended.stderr


def test_an_address_for_all_needs_a_token(tmp_path: Path) -> None:
    for listen in ("0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"):
        assert "token" in refused(tmp_path, listen=listen)


def test_a_page_under_another_name_that_leads_here_gets_nothing(plain: Store) -> None:
    port = urlsplit(plain.url).port
    for host in (
        "evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.2", "0.0.0.0", "",
        "localhost.evil", "[::2]", "127.0.0.1@evil.example", "evil.example#@127.0.0.1", "[", "2130706433",
    ):  # fmt: skip
        for path in ("/", "/healthz", "/store.json", "/alert"):
            answer = requests.get(f"{plain.url}{path}", headers={"Host": host}, timeout=9)
            assert is_problem(answer, 421), (host, path)
    assert raw(plain, b"GET /store.json HTTP/1.0\r\n\r\n")[0] == 421
    for host in (f"127.0.0.1:{port}", "127.0.0.1", "localhost:1", "LocalHost.", "[::1]:8080"):
        assert requests.get(f"{plain.url}/healthz", headers={"Host": host}, timeout=9).status_code == 200


def test_a_page_of_another_origin_changes_nothing(plain: Store) -> None:
    post(plain, {"kept": 1, "timestamp": 1})
    for headers in FOREIGN:
        for method, path in (
            ("POST", "/store.json"),
            ("DELETE", "/store.json?before=1e18"),
            ("GET", "/alert"),  # an image's address would do
            ("GET", "/store.json"),
        ):
            params = told(1) if path == "/alert" else None
            answer = requests.request(
                method, f"{plain.url}{path}", headers=headers, params=params, data=b"{}", timeout=9
            )
            assert is_problem(answer, 403), (method, path, headers)
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        preflight = requests.options(f"{plain.url}/store.json", headers=headers, timeout=9)
        assert preflight.status_code in {403, 405}
        assert "Access-Control-Allow-Origin" not in preflight.headers
        assert (
            requests.get(f"{plain.url}/", headers=headers, timeout=9).status_code == 200
        )  # a link may lead here
    assert get(plain) == [{"kept": 1, "timestamp": 1}]
    for ours in ({"Sec-Fetch-Site": "same-origin", "Origin": plain.url}, {"Origin": plain.url}, {}):
        assert requests.post(f"{plain.url}/store.json", json={}, headers=ours, timeout=9).status_code == 201
    typed = {"Sec-Fetch-Site": "none"}
    assert requests.get(f"{plain.url}/store.json", headers=typed, timeout=9).status_code == 200


def test_neither_token_nor_password_is_ever_told(
    start: StartStore, database_of: Callable[[str], str], tmp_path: Path
) -> None:
    database = database_of("postgresql").replace("postgres@", f"postgres:{PASSWORD}@")
    store = start(database, token=TOKEN)
    ours = {"Authorization": f"Bearer {TOKEN}"}
    told_all = b""
    for headers in ({}, ours, {"Authorization": f"Bearer {TOKEN}x"}):
        for path in (*DATA, *PAGES, "/healthz", "/store.json?x", "/store.json?port=x", "/alert?event=x"):
            if path != "/stream":
                answer = requests.get(f"{store.url}{path}", headers=headers, timeout=9)
                told_all += answer.content + repr(answer.headers).encode()
    away(*database.rsplit("/", 1))
    for method, path in (
        ("GET", "/store.json"),
        ("POST", "/store.json"),
        ("GET", "/healthz"),
        ("GET", "/stream"),
    ):
        answer = requests.request(method, f"{store.url}{path}", headers=ours, data=b"{}", timeout=30)
        assert is_problem(answer, 503), (method, path)
        told_all += answer.content
    assert store.stop() == 0
    told_all += store.log().encode()
    closed = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port()}/x"
    for wrong in (
        closed, closed.replace("127.0.0.1", "no.such.host.invalid"), f"postgresql://postgres:{PASSWORD}@h:port/x",
        f"postgresql://postgres:{PASSWORD}@[::/x", f"postgresql://{PASSWORD}", f"mysql://u:{PASSWORD}@h/x",
        closed.replace(f":{PASSWORD}", "") + f"?password={PASSWORD}",
    ):  # fmt: skip
        told_all += refused(tmp_path, database=wrong, token=TOKEN).encode()
    assert len(told_all) > 10_000
    assert PASSWORD.encode() not in told_all
    assert TOKEN.encode() not in told_all


def away(server: str, name: str) -> None:
    """Let nobody connect to a database, and end who is."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'alter database "{name}" allow_connections false')  # type: ignore[arg-type,unused-ignore]
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


@pytest.mark.parametrize(("kind", "library"), [("postgresql", "psycopg"), ("mysql", "pymysql")])
def test_a_database_without_its_library_is_told_with_the_remedy(kind: str, library: str) -> None:
    """The library is an extra: it is hidden here as if it were not installed."""
    code = (
        f"import sys; sys.modules['{library}'] = None\n"
        "from sockbpf.store.data.engine import SchemaError, open_engine\n"
        f"try:\n    open_engine('{kind}+{library}://u:secret@h/x', connections=1)\n"
        "except SchemaError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"sockbpf[{kind}]" in said
    assert "secret" not in said
