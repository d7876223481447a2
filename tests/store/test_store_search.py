# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a search finds is what a plain look at every object finds, in the same order, page by page."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
import requests

from tests.store.asking import Object, get, is_problem, pages, post
from tests.store.serving import Store, told

SEED = 20_261_122
ALERTS = 431
BEGIN_S = 1_795_000_000
ADDRESSES = (
    "192.0.2.1", "192.0.2.2", "198.51.100.7", "198.51.100.255", "0.0.0.0", "255.255.255.255", "::",
    "::1", "::ffff:192.0.2.1", "::ffff:203.0.113.9", "2001:db8::1", "2001:DB8:0:0::2", "fe80::1%eth0",
)  # fmt: skip
PORTS = (0, 53, 443, 8443, 65535)
NETS = (
    "192.0.2.0/24", "192.0.2.1/32", "198.51.100.128/25", "0.0.0.0/0", "::/0", "2001:db8::/32",
    "::ffff:0:0/96", "fe80::/10", "::ffff:192.0.2.0/120", "192.0.2.77/24",
)  # fmt: skip
HOSTS, COMMS = ("web1", "web2", "schlüssel"), ("nginx", "a b", "<b>", None)
Filters = dict[str, str]


def varied(dice: random.Random, number: int) -> dict[str, str]:
    """Return an alert of few values each, so that filters meet; many have the same time."""
    comm = dice.choice(COMMS)
    alert = told(
        number,
        timestamp=f"{BEGIN_S + dice.randrange(60)}.{dice.choice(('000000', '250000', '500000'))}",
        event=dice.choice(("exceeded", "ongoing", "cleared")),
        protocol=dice.choice(("tcp", "udp")),
        type=dice.choice(("SEND", "RECV")),
        local_ip=dice.choice(ADDRESSES),
        remote_ip=dice.choice(ADDRESSES),
        local_port=dice.choice(PORTS),
        remote_port=dice.choice(PORTS),
        size=dice.choice((0, 1, 4096, 2**31, 2**62)),
        host=dice.choice(HOSTS),
        pid=dice.choice((1, 4711)),
        id=f"{dice.randrange(40):016x}",
        mode=dice.choice(("ebpf", "poll")),
        threshold=dice.choice((1024, 65536)),
    )
    if comm is None:
        del alert["comm"], alert["pid"]
    else:
        alert["comm"] = comm
    if dice.random() < 0.3:
        alert["rack"] = dice.choice(("r1", "r2", "ä'\"%_"))
    return alert


def address(text: str) -> ipaddress.IPv6Address:
    plain = text.partition("%")[0]
    return ipaddress.IPv6Address(plain if ":" in plain else f"::ffff:{plain}")


def within(text: str, net: str) -> bool:
    base, _, bits = net.partition("/")
    width = int(bits) + (0 if ":" in base else 96)
    shift = 128 - width
    return int(address(text)) >> shift == int(address(base)) >> shift


def either(alert: Object, what: str, holds: Callable[[str], bool]) -> bool:
    return any(holds(str(alert[f"{end}_{what}"])) for end in ("local", "remote"))


HOLDS: dict[str, Callable[[Object, str], bool]] = {
    "from": lambda alert, value: float(alert["timestamp"]) >= float(value),
    "to": lambda alert, value: float(alert["timestamp"]) < float(value),
    "ip": lambda alert, value: either(alert, "ip", lambda ip: address(ip) == address(value)),
    "cidr": lambda alert, value: either(alert, "ip", lambda ip: within(ip, value)),
    "port": lambda alert, value: either(alert, "port", lambda port: port == value),
    "min_size": lambda alert, value: int(alert["size"]) >= int(value),
    "local_ip": lambda alert, value: address(alert["local_ip"]) == address(value),
}


def holds(alert: Object, name: str, value: str) -> bool:
    by_name = HOLDS.get(name)
    return by_name(alert, value) if by_name else name in alert and str(alert[name]) == value


def expected(alerts: list[Object], filters: Filters) -> list[Object]:
    """Return what is to be found; `alerts` are in the order in which they were sent."""
    found = [each for each in alerts if all(holds(each, *pair) for pair in filters.items())]
    return sorted(found, key=lambda each: (-float(each["timestamp"]), -int(each["seq"])))


VALUES: dict[str, tuple[object, ...]] = {
    "from": (BEGIN_S, BEGIN_S + 20.5, BEGIN_S + 59.75, 0),
    "to": (BEGIN_S + 20.5, BEGIN_S, BEGIN_S + 100),
    "protocol": ("tcp", "udp"),
    "type": ("SEND", "RECV"),
    "event": ("exceeded", "ongoing", "cleared", "heartbeat"),
    "ip": (*ADDRESSES, "192.0.2.9", "2001:db8:0:0:0:0:0:1"),
    "port": (*PORTS, 1),
    "cidr": NETS,
    "host": (*HOSTS, "nobody"),
    "pid": (1, 4711, 2),
    "comm": ("nginx", "a b", "<b>", "x"),
    "min_size": (0, 1, 2**31 + 1, 2**62, 2**63 - 1),
    "id": (f"{7:016x}", "none"),
    "rack": ("r1", "ä'\"%_", "%"),
    "mode": ("ebpf", "poll", "x"),
    "threshold": (1024, 65536, 1),
    "seq": (7, 77),
    "local_port": PORTS,
    "remote_port": (443,),
    "local_ip": ("192.0.2.1", "2001:db8::2"),
    "size": (4096, 2**62),
    "nothing": ("x",),
}


def test_every_filter_alone_and_with_others_finds_what_a_plain_look_finds(emptied: Store) -> None:
    dice = random.Random(SEED)
    sent = [varied(dice, number) for number in range(ALERTS)]
    with requests.Session() as session:
        for each in sent:
            assert session.get(f"{emptied.url}/alert", params=each, timeout=30).json() == {"new": True}
        asked = [{name: str(value)} for name, values in VALUES.items() for value in values]
        for _ in range(150):
            names = dice.sample(sorted(VALUES), dice.randrange(2, 5))
            asked.append({name: str(dice.choice(VALUES[name])) for name in names})
        hits = 0
        for filters in asked:
            answer = session.get(f"{emptied.url}/store.json", params=filters | {"limit": "1000"}, timeout=30)
            assert answer.status_code == 200, (filters, answer.text)
            found = [(each["seq"], each["id"]) for each in answer.json()]
            assert found == [(int(each["seq"]), each["id"]) for each in expected(sent, filters)], filters
            hits += bool(found)
    assert hits > len(asked) / 3


def test_a_posted_object_is_found_by_what_it_says(emptied: Store) -> None:
    objects = [
        {"local_ip": "192.0.2.1", "local_port": 53, "size": 10, "mode": "poll"},
        {"remote_ip": "::ffff:192.0.2.1", "remote_port": "53", "size": "11", "site": "north", "n": 1},
        {"protocol": "sctp", "comm": "x" * 300, "on": True, "ratio": 0.5, "nested": {"mode": "poll", "n": 1}},
    ]
    post(emptied, objects)
    for filters, found in (
        ({"ip": "192.0.2.1"}, {0, 1}), ({"port": 53}, {0, 1}), ({"min_size": 11}, {1}), ({"site": "north"}, {1}),
        ({"n": 1}, {1}), ({"on": "true"}, {2}), ({"ratio": 0.5}, {2}), ({"comm": "x" * 300}, {2}),
        ({"mode": "poll"}, {0}), ({"cidr": "192.0.2.0/30", "port": 53}, {0, 1}), ({"site": "south"}, set()),
    ):  # fmt: skip
        assert {objects.index(each) for each in get(emptied, **filters)} == found, filters


def test_pages_show_everything_once_while_more_comes(emptied: Store) -> None:
    post(emptied, [{"n": n, "timestamp": BEGIN_S + n // 25} for n in range(200)])
    url, seen = f"{emptied.url}/store.json?limit=7", []
    while url:
        answer = requests.get(url, timeout=30)
        seen += [each["n"] for each in answer.json()]
        post(emptied, [{"n": -len(seen), "timestamp": BEGIN_S + 1000}, {"n": -len(seen) - 0.5}])
        following = answer.links.get("next")
        url = f"{emptied.url}{following['url']}" if following else ""
    assert seen == list(range(199, -1, -1))


@pytest.mark.parametrize("limit", [1, 3, 50, 1000])
def test_pages_of_a_filter_on_either_end_fit_together(emptied: Store, limit: int) -> None:
    ends = [("192.0.2.1", "198.51.100.7"), ("198.51.100.7", "192.0.2.1"), ("192.0.2.1", "::ffff:192.0.2.1")]
    objects = [
        {"n": n, "local_ip": local, "remote_ip": remote, "local_port": n % 3, "remote_port": 1}
        for n in range(40)
        for local, remote in [ends[n % 3]]
    ]
    post(emptied, objects)  # all of one time
    wanted = [each for each in objects[::-1] if 1 in (each["local_port"], each["remote_port"])]
    found = pages(emptied, ip="192.0.2.1", port=1, limit=limit)
    assert [each for page in found for each in page] == wanted
    assert max(map(len, found)) <= limit


def test_pages_are_full_though_what_is_kept_is_large(emptied: Store) -> None:
    text = "x" * 1_000_000
    for n in range(12):
        post(emptied, [{"n": 2 * n + m, "text": text, "local_port": 7, "remote_port": m * 7} for m in (0, 1)])
    for filters in ({}, {"port": 7}):
        found = pages(emptied, limit=1000, **filters)
        assert [each["n"] for page in found for each in page] == list(range(23, -1, -1))
        assert max(sum(len(each["text"]) for each in page) for page in found) <= 9_000_000
        assert len(found) < 8


def test_times_are_read_as_iso_8601_says_or_unix_seconds(emptied: Store) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    post(emptied, [{"timestamp": (noon + timedelta(hours=h)).timestamp(), "h": h} for h in (-1, 0, 1)])
    for text in (
        "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31T13:00:00+01:00", "2026-01-31T06:30:00-05:30",
        "2026-01-31 12:00:00", "2026-01-31T12:00", "2026-01-31T12:00:00.000Z", str(noon.timestamp()),
        f"{noon.timestamp():.0f}",
    ):  # fmt: skip
        assert [each["h"] for each in get(emptied, from_=text)] == [1, 0], text
        assert [each["h"] for each in get(emptied, to=text)] == [-1], text
    unescaped = f"{emptied.url}/store.json?from=2026-01-31T13:00:00+01:00"
    assert len(requests.get(unescaped, timeout=9).json()) == 2
    assert len(get(emptied, from_="2026-01-31")) == 3
    assert len(get(emptied, from_="0001-01-01T00:00:00+23:59", to="9999-12-31T23:59:59-23:59")) == 3


FAULTS = [
    ("from", "soon"), ("from", "nan"), ("to", "inf"), ("to", "1_000"), ("from", "2026-13-01"), ("from", ""),
    ("ip", "1.2.3"), ("ip", ""), ("ip", "host"),
    ("port", "-1"), ("port", "1.5"), ("port", "٣"), ("port", "9" * 20), ("port", str(2**63)),
    ("cidr", "1.2.3.4/33"), ("cidr", "x/8"), ("cidr", "::/129"), ("pid", "me"), ("min_size", "1MiB"),
    ("limit", "0"), ("limit", "1001"), ("limit", "-1"), ("limit", ""), ("cursor", "Zm9v"), ("cursor", "ü"),
    ("cursor", "AAAA" * 50), ("cursor", ""), ("local_ip", "x.y"), ("size", "big"),
]  # fmt: skip


def test_what_makes_no_sense_is_refused_by_its_name_and_never_repeated(emptied: Store) -> None:
    for name, value in FAULTS:
        answer = requests.get(f"{emptied.url}/store.json", params={name: value}, timeout=9)
        assert is_problem(answer, 422), (name, value)
        detail = answer.json()["detail"]
        assert detail.startswith(f"{name}: expected"), (name, value)
        assert len(value) < 3 or value not in detail
    for query in ("port=1&port=2", "&".join(f"k{n}=1" for n in range(33))):
        assert is_problem(requests.get(f"{emptied.url}/store.json?{query}", timeout=9), 422)
    for query in ("a=%ff", "%ff=a", "&".join(f"k{n}=1" for n in range(129))):
        assert is_problem(requests.get(f"{emptied.url}/store.json?{query}", timeout=9), 400), query


def test_episodes_are_found_by_the_same_filters(emptied: Store) -> None:
    with requests.Session() as session:
        for n, (ip, port, size, ends) in enumerate(
            (("192.0.2.1", 1, 10, True), ("::ffff:192.0.2.1", 2, 30, False), ("2001:db8::1", 1, 20, True))
        ):
            base = told(
                n, local_ip=ip, local_port=port, size=size, peak=size, timestamp=f"{100 * n + 100}.000000"
            )
            session.get(f"{emptied.url}/alert", params=base, timeout=9)
            if ends:
                over = base | {"event": "cleared", "timestamp": f"{100 * n + 150}.000000", "seq": str(n + 50)}
                session.get(f"{emptied.url}/alert", params=over | {"duration": "50"}, timeout=9)
        for query, found in (
            ("", [2, 1, 0]), ("sort=peak", [1, 2, 0]), ("open=true", [1]), ("open=false", [2, 0]),
            ("ip=192.0.2.1", [1, 0]), ("port=1", [2, 0]), ("cidr=::/0&sort=peak", [1, 2, 0]), ("min_size=20", [2, 1]),
            ("from=151", [2, 1]), ("from=150", [2, 1, 0]), ("from=1e6", [1]), ("to=200", [0]),
            ("from=120&to=130", [0]), ("limit=1", [2]), ("limit=1&sort=peak", [1]), ("host=x", []),
            (f"id={1:016x}", [1]), ("protocol=tcp&type=RECV", [2, 1, 0]), ("comm=nginx&pid=4711&open=true", [1]),
        ):  # fmt: skip
            episodes = session.get(f"{emptied.url}/episodes?{query}", timeout=9).json()
            assert [int(each["id"], 16) for each in episodes] == found, query
        for query in (
            "open=yes",
            "sort=size2",
            "event=exceeded",
            "rack=r1",
            "protocol=TCP",
            "type=x",
            "cursor=AAAA",
            "limit=0",
        ):
            assert is_problem(session.get(f"{emptied.url}/episodes?{query}", timeout=9), 422), query
