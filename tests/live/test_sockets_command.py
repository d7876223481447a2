# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf sockets` shows of 5003 sockets of every kind, in several network namespaces, what `ss -tuanpemi` shows."""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
import re
import resource
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from sockbpf.kernel.look.netns import inside
from sockbpf.monitor.rows_closely import MOST
from tests.live.command_line import run, write_config
from tests.live.every_kind import fill_up, make_every_kind
from tests.live.monitoring import sockbpf
from tests.live.network import namespace
from tests.live.receiver import Receiver
from tests.live.sockets import FAMILIES, hand_over, inode, listener, port, tcp_pair, udp_socket
from tests.live.ss_fields import AGES, Key, Seen, key_of, ss_fields
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looking at all sockets needs root")

COUNT = 5003

TICK_MS = 11
"""By so much times may differ: the kernel counts them in ticks."""

COMM = Path("/proc/self/comm").read_text().strip()
"""The name of the process that runs the tests."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def _compile_once(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(kept))


STATES = {
    *("ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSE-WAIT", "LAST-ACK"),
    *("LISTEN", "CLOSING"),
}


@contextmanager
def many_files(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, before[1])))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def objects(*arguments: str) -> list[Seen]:
    shown = run("sockets", "--json", *arguments)
    assert (shown.returncode, shown.stderr) == (0, "")
    return [json.loads(line) for line in shown.stdout.splitlines()]


def compare(ours: Seen, theirs: Seen) -> None:
    """Compare every field that `ss` shows."""
    expected = {name: value for name, value in theirs.items() if name not in {"pids", "comms", AGES}}
    if expected.get("cgroup") == "/":  # nobody uses cgroup2 here, perhaps: then the path is that of version 1
        assert str(ours["cgroup"]).startswith("/"), ours
        del expected["cgroup"]
    assert {name: ours.get(name) for name in expected} == expected, ours
    assert ours.get("pid") in (theirs["pids"] or {None}), ours
    assert ours.get("comm") in (theirs["comms"] or {None}), ours
    if theirs.get("uid") is not None:
        assert ours["user"] == pwd.getpwuid(theirs["uid"]).pw_name
    else:
        assert "inode" not in ours, ours


@pytest.mark.parametrize("look", ["auto", "sock_diag"])
def test_5003_sockets_of_every_kind_are_shown_as_ss_shows_them(
    look: str, tmp_path: Path, receiver: Receiver, stack: ExitStack
) -> None:
    config = write_config(tmp_path, receiver)
    settings = yaml.safe_load(config.read_text()) | {"kernel": {"look": look}, "listeners": {"backlog": 0}}
    settings["thresholds"] = {"send": "1GiB", "recv": "1GiB"}  # where something is over it looks twice
    config.write_text(yaml.safe_dump(settings))
    stack.enter_context(many_files(2 * COUNT))
    names = [stack.enter_context(namespace()) for _ in range(3)]
    made = [sock for family in FAMILIES for sock in make_every_kind(stack, family)]
    for number, name in enumerate(names):
        with inside(f"/run/netns/{name}"):
            made += [sock for family in FAMILIES for sock in make_every_kind(stack, family)]
            made += fill_up(stack, len(made), COUNT * (number + 1) // 4)
    made += fill_up(stack, len(made), COUNT)
    assert len({inode(sock) for sock in made if sock.fileno() >= 0}) == COUNT

    mine = {inode(sock) for sock in made}

    def of_ss() -> dict[str, dict[Key, Seen]]:
        """Return what there is in the namespaces of this test, and of the common one what is this test's."""
        here = {key: seen for key, seen in ss_fields().items() if seen.get("inode") in mine}
        return {"": here} | {name: ss_fields(name) for name in names}

    def at_rest() -> bool:
        before, shown, after = of_ss(), objects("--all", "-c", str(config)), of_ss()
        if not are_alike(before, after):
            return False
        assert mine <= {row.get("inode") for row in shown}
        for name, theirs in before.items():
            ours = of_namespace(shown, name)
            if name:
                assert ours.keys() == theirs.keys()
                assert {seen["state"] for seen in theirs.values() if "state" in seen} == STATES
            for key, seen in theirs.items():
                compare(ours[key], seen)
                compare_ages(ours[key], seen.get(AGES, {}), after[name][key].get(AGES, {}))
        return True

    until(at_rest, "the same before and after in ss", 60)


def are_alike(before: dict[str, dict[Key, Seen]], after: dict[str, dict[Key, Seen]]) -> bool:
    """Tell whether nothing but ages is another."""

    def without_ages(all_: dict[str, dict[Key, Seen]]) -> list[dict[Key, Seen]]:
        return [{key: seen | {AGES: None} for key, seen in each.items()} for each in all_.values()]

    return without_ages(before) == without_ages(after)


def compare_ages(ours: Seen, least: Seen, most: Seen) -> None:
    ages = {name: age for name, age in ours.items() if name.endswith("_age_ms")}
    assert ages.keys() == least.keys(), ours
    assert all(least[name] - TICK_MS <= age <= most[name] + TICK_MS for name, age in ages.items()), ours


def of_namespace(shown: list[Seen], name: str) -> dict[Key, Seen]:
    """Return the sockets of a namespace; no name: of that which the test runs in."""
    number = os.stat(f"/run/netns/{name}" if name else "/proc/self/ns/net").st_ino
    rows = [row for row in shown if row["netns"] == number]
    assert all(row.get("netns_name", "") == name for row in rows if name)
    return {key_of(row): row for row in rows}


def test_what_is_over_comes_first_and_empty_sockets_are_not_shown(
    tmp_path: Path, receiver: Receiver, stack: ExitStack
) -> None:
    config = write_config(tmp_path, receiver)  # over is what holds more than 20 011
    over, under, empty = [(*tcp_pair(stack), size) for size in (20_012, 20_011, 0)]
    for client, server, size in (over, under, empty):
        client.sendall(bytes(size))
        until(lambda server=server, size=size: held(server) == size, "all of it there")  # type: ignore[misc]
    ports = {port(server) for _, server, _ in (over, under, empty)}
    asked = [word for number in ports for word in ("--local-port", str(number))]
    found = objects("-c", str(config), *asked)
    assert [(row["local_port"], row.get("over")) for row in found] == [
        (port(over[1]), "RECV"), (port(under[1]), None),
    ]  # fmt: skip
    assert objects("-c", str(config), "--type", "send", *asked) == []
    assert ("recv_cause" in found[0], "recv_cause" in found[1]) == (True, False)
    assert "over" not in objects(*asked)[0]
    every = objects("--all", "-c", str(config), "--process", f"{COMM[:4]}*", *asked)
    assert {row["local_port"] for row in every if row["state"] == "ESTAB"} == ports
    assert objects("-c", str(config), "--process", "nobody-has-this", *asked) == []
    (first,) = objects("-c", str(config), "--limit", "1", "--type", "recv,accept", *asked)
    assert first["recv"] == 20_012


def test_what_is_over_has_its_cause(tmp_path: Path, receiver: Receiver, stack: ExitStack) -> None:
    config = write_config(tmp_path, receiver)
    client, server = tcp_pair(stack)
    client.sendall(bytes(20_012))
    until(lambda: held(server) == 20_012, "all of it there")
    number = port(server)
    hand_over(stack, server)
    (row,) = objects("-c", str(config), "--local-port", str(number))
    assert (row["comm"], row["recv_cause"]) == ("sleep", "reader-not-reading")


def test_of_very_many_sockets_the_first_have_a_cause_and_an_age(stack: ExitStack) -> None:
    stack.enter_context(many_files(2 * COUNT))
    for _ in range(MOST + 7):
        sock = udp_socket(stack)
        sock.sendto(b"x", sock.getsockname())
    said = run("sockets", "--json", "--udp", "--process", f"{COMM[:4]}*").stderr
    (left_out,) = re.findall(r"age and cause of the first 1000 alone: (\d+) more hold something", said)
    assert int(left_out) >= 7


def held(sock: socket.socket) -> int:
    return next((row["recv"] for row in objects("--local-port", str(port(sock)))), 0)


def test_rules_decide_what_is_over(tmp_path: Path, receiver: Receiver, stack: ExitStack) -> None:
    config = write_config(tmp_path, receiver)
    client, server = tcp_pair(stack)
    client.sendall(bytes(30_011))
    until(lambda: held(server) == 30_011, "all of it there")
    written = yaml.safe_load(config.read_text())
    for rule, over in (({"ignore": True}, None), ({"thresholds": {"recv": 30_010}}, "RECV")):
        match = {"local_port": port(server), "process": f"{COMM[:4]}*"}
        config.write_text(yaml.safe_dump(written | {"rules": [{"match": match, **rule}]}))
        (row,) = objects("-c", str(config), "--local-port", str(port(server)))
        assert row.get("over") == over, rule


def test_listeners_with_their_accept_queues(stack: ExitStack) -> None:
    server = listener(stack, "ipv4")
    server.listen(3)
    for _ in range(4):
        stack.enter_context(socket.create_connection(server.getsockname()))
    until(lambda: "accept" in str(objects("--local-port", str(port(server)))), "one that waits")
    (row,) = objects("--listen", "--local-port", str(port(server)))
    assert (row["accept"], row["accept_limit"], row["over"], row["state"]) == (4, 3, "ACCEPT", "LISTEN")


def test_csv_and_the_table_have_the_same_sockets(stack: ExitStack) -> None:
    sock = udp_socket(stack)
    sock.sendto(bytes(1009), sock.getsockname())
    asked = ["--udp", "--port", str(port(sock))]
    (names, cells) = csv.reader(io.StringIO(run("sockets", "--csv", *asked).stdout))
    (row,) = objects(*asked)
    assert {name: cell for name, cell in zip(names, cells, strict=True) if cell} == {
        name: str(value) for name, value in row.items()
    }
    (heading, line) = run("sockets", *asked).stdout.splitlines()
    assert heading.split()[:4] == ["proto", "recv", "send", "fill"]
    assert line.split()[:5] == [
        "udp",
        str(row["recv"]),
        "0",
        f"{row['recv_fill']}%",
        f"127.0.0.1:{port(sock)}",
    ]
    none = run("sockets", "--tcp", "--port", str(port(sock)))
    assert (none.returncode, none.stdout) == (0, "")
    assert "--all shows empty ones too" in none.stderr


def test_without_root_it_shows_its_own_and_says_what_is_missing(stack: ExitStack) -> None:
    sock = udp_socket(stack)
    sock.sendto(bytes(1009), sock.getsockname())
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *sockbpf("sockets", "--json")]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.startswith("without root: ")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    (row,) = [row for row in rows if row.get("inode") == inode(sock)]
    assert row["recv"] > 1009
    assert "pid" not in row  # it is another user's process


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "http"], "--port: expected a port"),
        (["--limit", "-1"], "--limit: expected a number from 0"),
        (["--listen", "--udp"], "only a TCP socket can be a listener"),
        (["--json", "--csv"], "not allowed with argument"),
        (["--summary", "--port", "443"], "--summary: expected nothing beside it"),
        (["-c", "/none"], "/none"),
    ],
)
def test_nonsense_is_refused(words: list[str], said: str) -> None:
    refused = run("sockets", *words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr


def in_short(shown: dict[Key, Seen]) -> dict[Key, list[object]]:
    return {
        key: [seen.get(name) for name in ("state", "recv", "send", "accept")] for key, seen in shown.items()
    }


def test_the_summary_counts_every_socket_of_a_namespace(stack: ExitStack) -> None:
    """By a user who sees one namespace alone: those of other tests come and go."""
    name = stack.enter_context(namespace())
    with inside(f"/run/netns/{name}"):
        for family in FAMILIES:
            make_every_kind(stack, family)
        reader = udp_socket(stack)
        for _ in range(501):
            reader.sendto(bytes(1009), reader.getsockname())
    command = ["ip", "netns", "exec", name, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def at_rest() -> bool:
        before = ss_fields(name)
        shown = run("sockets", "--summary", "--json", before=command)
        assert shown.returncode == 0, shown.stderr
        if in_short(before) != in_short(ss_fields(name)):
            return False
        found = json.loads(shown.stdout)
        tcp = [seen for key, seen in before.items() if key[0] == "tcp"]
        assert found["sockets"]["tcp"] == Counter(seen["state"] for seen in tcp)
        assert sum(found["sockets"]["udp"].values()) == len(before) - len(tcp)
        for protocol in ("tcp", "udp"):
            seen = [each for key, each in before.items() if key[0] == protocol]
            assert found["queues"][protocol] == {
                way: sum(each.get(way, 0) for each in seen) for way in ("recv", "send")
            }
        assert found["listeners"] == sum(seen["state"] == "LISTEN" for seen in tcp)
        assert found["waiting"] == sum(seen.get("accept", 0) for seen in tcp) > 0
        assert found["counters"]["UdpRcvbufErrors"]["total"] == sum(
            seen["drops"] for key, seen in before.items() if key[0] == "udp"
        )
        assert found["namespaces"] == 1
        return True

    until(at_rest, "the same before and after in ss", 60)
    shown = run("sockets", "--summary", before=command).stdout
    assert "nearest to being over" in shown
    assert "UdpRcvbufErrors" in shown


@pytest.mark.parametrize(("into", "said"), [("/dev/full", "No space left on device"), ("| head -n 1", "")])
def test_an_output_that_takes_nothing_is_no_traceback(into: str, said: str, stack: ExitStack) -> None:
    kept = [udp_socket(stack) for _ in range(503)]
    command = f"{' '.join(sockbpf('sockets', '--all', '--json'))} {'> ' if into[0] == '/' else ''}{into}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert bool(done.stderr) == bool(said)
    assert kept
