# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How many hosts there are of each state, version and label, so that a page can offer these. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from sockbpf.record.labels import labels_of
from sockbpf.store.data.states import STATES_OF_HOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    Group = tuple[str, bool, str | None, int]
    """State, whether its monitor may not see all, version, and how many hosts have these."""

MOST_VERSIONS = 50
MOST_NAMES, MOST_VALUES = 16, 50
"""Labels that are counted, and values of each: those of most hosts."""


def counts_of(groups: Iterable[Group]) -> dict[str, Any]:
    """Return the part of an answer that counts the hosts of these groups."""
    states, versions = Counter[str](), Counter[str]()
    blind = 0
    for state, is_blind, version, count in groups:
        states[state] += count
        blind += count if is_blind else 0
        if version:
            versions[version] += count
    return {
        "counts": {name: states[name] for name in STATES_OF_HOST},
        "blind": blind,
        "versions": [
            {"version": version, "count": count} for version, count in _first(versions, MOST_VERSIONS)
        ],
    }


def counts_of_labels(told: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return how many hosts have each label, those of most first; `told` has texts of labels and of how many."""
    labels, hosts = Counter[str](), Counter[str]()
    for text, count in told:
        for label in text.split(";"):
            labels[label] += count
    values: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for label, count in _first(labels, len(labels)):
        name, _, value = label.partition("=")
        hosts[name] += count
        values[name].append((value, count))
    return [
        {
            "name": name,
            "count": count,
            "values": [
                {"value": labels_of(f"{name}={value}").get(name, ""), "count": of_value}
                for value, of_value in values[name][:MOST_VALUES]
            ],
            "more": max(0, len(values[name]) - MOST_VALUES),
        }
        for name, count in _first(hosts, MOST_NAMES)
    ]


def _first(counter: Counter[str], most: int) -> list[tuple[str, int]]:
    """Return what there is most of; of equals the first by name."""
    return sorted(counter.items(), key=lambda each: (-each[1], each[0]))[:most]
