# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a timeline says, found by a plain look at every alert and every episode."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


def name_of(row: Row) -> str:
    return str(
        row.get("unit") or row.get("container") or row.get("comm") or f"{row['protocol']} {row['local_port']}"
    )


@dataclass
class Bucket:
    """One bucket of the model."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    fill: int = 0
    ratio: float = 0.0
    open_us: Counter[str] = field(default_factory=Counter)


def model(alerts: list[Row], episodes: list[Row], begin_s: int, width_s: int, count: int) -> list[Bucket]:
    """Return what is in each bucket."""
    buckets = [Bucket() for _ in range(count)]
    for alert in alerts:
        place = int((float(alert["timestamp"]) - begin_s) // width_s)
        if 0 <= place < count:
            bucket = buckets[place]
            bucket.counts[alert["type"], alert["event"]] += 1
            bucket.fill = max(bucket.fill, int(alert.get("fill", 0)))
            bucket.ratio = max(bucket.ratio, int(alert["size"]) / int(alert["threshold"]))
    for episode in episodes:
        stop_us = round(episode["last"] * 1e6)
        start_us = max(min(round(episode["start"] * 1e6), stop_us), stop_us - 31 * 86_400_000_000)
        for place, bucket in enumerate(buckets):
            left_us = (begin_s + place * width_s) * 1_000_000
            shared_us = min(stop_us, left_us + width_s * 1_000_000) - max(start_us, left_us)
            bucket.open_us[name_of(episode)] += max(0, shared_us)
    return buckets


def differences(
    answer: dict[str, Any], alerts: list[Row], episodes: list[Row], *, exact_worst: bool = True
) -> list[str]:
    """Return in what an answer of /timeline differs from the model."""
    wanted = model(alerts, episodes, answer["from"], answer["width"], len(answer["times"]))
    said = []
    for place, bucket in enumerate(wanted):
        if answer["open_s"][place] is None:
            continue
        counts = {
            (type_, event): numbers[place]
            for type_, events in answer["counts"].items()
            for event, numbers in events.items()
            if numbers[place]
        }
        open_us = round(answer["open_s"][place] * 1e6)
        worst = (answer["worst_fill"][place] or 0, answer["worst_ratio"][place] or 0.0)
        if counts != dict(bucket.counts):
            said.append(f"{place}: counts {counts}, not {dict(bucket.counts)}")
        if abs(open_us - bucket.open_us.total()) > 1:
            said.append(f"{place}: over for {open_us} µs, not {bucket.open_us.total()}")
        if exact_worst and worst != (bucket.fill, round(bucket.ratio, 3)):
            said.append(f"{place}: worst {worst}, not {(bucket.fill, bucket.ratio)}")
        said += _of_services(answer, place, bucket)
    overall: Counter[str] = Counter()
    for bucket in wanted:
        overall += bucket.open_us
    told = [overall[each["service"]] for each in answer["services"]]
    if not answer["partial"] and told != sorted(overall.values(), reverse=True)[: len(told)] + [0] * (
        len(told) - len(overall)
    ):
        said.append(f"services {told}, not the longest of {sorted(overall.values(), reverse=True)}")
    return said


def _of_services(answer: dict[str, Any], place: int, bucket: Bucket) -> list[str]:
    said = []
    for service in answer["services"]:
        of_it = round(service["open_s"][place] * 1e6)
        if abs(of_it - bucket.open_us[service["service"]]) > 1:
            said.append(f"{place}: {service['service']} {of_it} µs, not {bucket.open_us[service['service']]}")
    rest_us = bucket.open_us.total() - sum(bucket.open_us[each["service"]] for each in answer["services"])
    if abs(round(answer["others"]["open_s"][place] * 1e6) - rest_us) > 1:
        said.append(f"{place}: others {answer['others']['open_s'][place]} s, not {rest_us} µs")
    return said
