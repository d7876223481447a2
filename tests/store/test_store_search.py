"""What is asked for is found, nothing else, whatever the filter: compared with a look at every alert."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable
from typing import Any

import requests

from tests.store.serving import Store, find, post, tell, told

FIRST_S = 1_795_343_123
ADDRESSES = (
    "192.0.2.1",
    "192.0.2.200",
    "198.51.100.7",
    "2001:db8::1",
    "2001:db8:1::9",
    "::ffff:192.0.2.1",
    "fe80::1%eth0",
)
COMMS = ("nginx", "o'brien", "100%", "a_b", "<b>bold</b>")
Alert = dict[str, Any]


def alert(number: int) -> dict[str, str]:
    """Return alerts in which every field takes several values, no two fields in step."""
    udp = number % 3 == 0
    return told(
        number,
        timestamp=f"{FIRST_S + number // 2}.500000",
        event=("exceeded", "ongoing", "cleared")[number % 7 % 3],
        protocol="udp" if udp else "tcp",
        type="SEND" if number % 5 < 2 else "RECV",
        local_ip=ADDRESSES[number % 7],
        remote_ip=ADDRESSES[number * 3 % 7 if number % 2 else 2],
        local_port=8000 + number % 11,
        remote_port=8000 + number % 13,
        size=1_000_000 + number * 1009,
        host=f"web{number % 2}",
        pid=100 + number % 4,
        comm=COMMS[number % 5],
        mode="poll" if number % 17 == 0 else "ebpf",
        netns=4_026_531_833 + number % 2,
        id=f"{number % 53:016x}",
    )


def either(name: str, fits: Callable[[Any], bool]) -> Callable[[Alert], bool]:
    return lambda a: fits(a[f"local_{name}"]) or fits(a[f"remote_{name}"])


def number_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def inside(net: str) -> Callable[[Alert], bool]:
    wanted = ipaddress.ip_network(net)
    return either("ip", lambda text: number_of(text) in wanted)


FILTERS: list[tuple[str, Callable[[Alert], bool]]] = [
    ("protocol=udp", lambda a: a["protocol"] == "udp"),
    ("type=SEND", lambda a: a["type"] == "SEND"),
    ("event=cleared", lambda a: a["event"] == "cleared"),
    ("host=web1", lambda a: a["host"] == "web1"),
    ("pid=102", lambda a: a["pid"] == 102),
    ("comm=o%27brien", lambda a: a["comm"] == "o'brien"),
    ("comm=100%25", lambda a: a["comm"] == "100%"),
    ("comm=a_b", lambda a: a["comm"] == "a_b"),
    ("port=8003", either("port", lambda port: port == 8003)),
    ("port=8012", either("port", lambda port: port == 8012)),
    ("local_port=8003", lambda a: a["local_port"] == 8003),
    ("remote_port=8003", lambda a: a["remote_port"] == 8003),
    ("ip=192.0.2.1", either("ip", lambda text: number_of(text) == number_of("192.0.2.1"))),
    ("ip=2001:DB8:0:0::1", either("ip", lambda text: text == "2001:db8::1")),
    ("ip=fe80::1", either("ip", lambda text: text.startswith("fe80"))),
    ("local_ip=198.51.100.7", lambda a: a["local_ip"] == "198.51.100.7"),
    ("cidr=192.0.2.0/24", inside("192.0.2.0/24")),
    ("cidr=192.0.2.128/25", inside("192.0.2.128/25")),
    ("cidr=0.0.0.0/0", inside("0.0.0.0/0")),
    ("cidr=2001:db8::/48", inside("2001:db8::/48")),
    ("cidr=2001:db8::/32", inside("2001:db8::/32")),
    ("min_size=1060541", lambda a: a["size"] >= 1_060_541),
    ("size=1060540", lambda a: a["size"] == 1_060_540),
    ("id=0000000000000007", lambda a: a["id"] == "0000000000000007"),
    ("mode=poll", lambda a: a["mode"] == "poll"),
    ("mode=POLL", lambda _: False),
    ("netns=4026531834", lambda a: a["netns"] == 4_026_531_834),
    ("netns=402653183", lambda _: False),
    ("seq=7", lambda a: a["seq"] == 7),
    ("threshold=1048576", lambda _: True),
    ("threshold=many", lambda _: False),
    (f"from={FIRST_S + 11}", lambda a: a["timestamp"] >= FIRST_S + 11),
    (f"from={FIRST_S + 11}.5&to={FIRST_S + 31}.5", lambda a: FIRST_S + 11.5 <= a["timestamp"] < FIRST_S + 31.5),
    ("from=2026-11-22T10:25:34Z", lambda a: a["timestamp"] >= FIRST_S + 11),
    ("to=2026-11-22T11:25:34%2B01:00", lambda a: a["timestamp"] < FIRST_S + 11),
    ("color=blue", lambda _: False),
]  # fmt: skip


def fill(store: Store) -> list[Alert]:
    """Have 211 alerts kept; return them newest first, as they should come back."""
    for number in range(211):
        assert tell(store, **alert(number)).json() == {"new": True}
    kept = find(store, limit=1000)
    assert [a["seq"] for a in kept] == [int(alert(number)["seq"]) for number in range(211)][::-1]
    return kept


def test_every_filter_and_every_pair_of_them(store: Store) -> None:
    alerts = fill(store)
    asked = 0
    with requests.Session() as client:
        for chosen in itertools.chain(((one,) for one in FILTERS), itertools.combinations(FILTERS, 2)):
            names = [part.split("=")[0] for query, _ in chosen for part in query.split("&")]
            if len(set(names)) < len(names):
                continue
            query = "&".join(query for query, _ in chosen)
            answer = client.get(f"{store.url}/store.json?limit=1000&{query}", timeout=30)
            wanted = [a for a in alerts if all(fits(a) for _, fits in chosen)]
            assert (answer.status_code, answer.json()) == (200, wanted), query
            asked += 1
    assert asked > 500


def test_the_pages_make_up_the_whole(store: Store) -> None:
    """Also where the end of a page lies between two of the same time."""
    fill(store)
    for query in ("", "port=8003", "ip=192.0.2.1&port=8003", "comm=nginx", "mode=ebpf"):
        whole = requests.get(f"{store.url}/store.json?limit=1000&{query}", timeout=30).json()
        url, found = f"/store.json?limit=7&{query}", []
        while url:
            answer = requests.get(f"{store.url}{url}", timeout=30)
            found += answer.json()
            url = answer.links["next"]["url"] if "next" in answer.links else ""
        assert whole
        assert found == whole, query


def test_what_was_posted_is_found_like_an_alert(store: Store) -> None:
    post(store, [
        {"protocol": "sctp", "local_ip": "192.0.2.77", "local_port": "8443", "size": 7, "mode": "odd", "up": True},
        {"type": "disk", "event": "full", "timestamp": 1_700_000_000, "netns": "blue", "ratio": 0.5},
    ])  # fmt: skip
    for query in ("protocol=sctp", "port=8443", "cidr=192.0.2.0/24", "size=7", "mode=odd", "up=true"):
        (found,) = requests.get(f"{store.url}/store.json?{query}", timeout=9).json()
        assert found["protocol"] == "sctp", query
    for query in ("type=disk", "event=full", "to=1700000001", "netns=blue", "ratio=0.5"):
        found = requests.get(f"{store.url}/store.json?{query}", timeout=9).json()
        assert [each["type"] for each in found] == ["disk"], query


def test_a_filter_that_makes_no_sense_is_a_problem(store: Store) -> None:
    queries = (
        "limit=0", "limit=1001", "limit=x", "from=now", "from=nan", "to=inf", "ip=1.2.3", "ip=1.2.3.4.5",
        "cidr=1.2.3.4/33", "port=-1", "port=1e3", "pid=" + "9" * 30, "min_size=", "cursor=x", "cursor=AAAA",
        "port=1&port=2", "ip=fe80::1%25%00", "&".join(f"k{number}=1" for number in range(20)),
    )  # fmt: skip
    for query in queries:
        answer = requests.get(f"{store.url}/store.json?{query}", timeout=9)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), (
            query
        )


def test_what_is_asked_for_is_never_code(store: Store) -> None:
    fill(store)
    for text in ("' or 1=1 --", '"; drop table entry; --', "%", "_", "\\", "\0", "☃", "%' or '1'='1", "*"):
        for name in ("host", "comm", "id", "event", "mode", "color", text):
            assert find(store, **{name: text}) == [], (name, text)
    assert len(find(store, limit=1000)) == 211


def test_episodes_by_filter_and_order(store: Store) -> None:
    fill(store)
    everything = find(store, "/episodes", limit=1000)
    assert len(everything) == 53 * 2  # by host and id
    assert [e["start"] for e in everything] == sorted((e["start"] for e in everything), reverse=True)
    peaks = [e["peak"] for e in find(store, "/episodes", limit=7, sort="peak")]
    assert peaks == sorted((e["peak"] for e in everything), reverse=True)[:7]
    still_open = find(store, "/episodes", limit=1000, open="true")
    assert 0 < len(still_open) < len(everything)
    assert all(e["end"] is None for e in still_open)
    assert len(find(store, "/episodes", limit=1000, open="false")) == len(everything) - len(still_open)
    on_port = find(store, "/episodes", limit=1000, port=8003)
    assert on_port == [e for e in everything if 8003 in (e["local_port"], e["remote_port"])]
    since = find(store, "/episodes", limit=1000, from_=FIRST_S + 90)
    assert {e["id"] for e in since} == {
        e["id"] for e in everything if e["last"] >= FIRST_S + 90 or e["end"] is None
    }
    assert sum(e["alerts"] for e in everything) == 211
    for query in ("protocol=sctp", "color=blue", "event=cleared", "open=maybe", "sort=host"):
        assert requests.get(f"{store.url}/episodes?{query}", timeout=9).status_code == 422, query
