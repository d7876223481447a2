# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Several episodes of equal labels are one alert of Alertmanager, from the first beginning to the last end."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.label_sets import FORGET_S, MOST_EPISODES, LabelSets

NGINX, REDIS = {"comm": "nginx"}, {"comm": "redis"}


def alert(at: int, *, end: int | None = None, labels: dict[str, str] = NGINX, **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "labels": labels,
        "annotations": {"size": str(at), **more},
        "startsAt": f"{at:09}",
    }
    return made if end is None else made | {"endsAt": f"{end:09}"}


def told(sets: LabelSets, id_: str, made: dict[str, Any], now_s: float = 0.0) -> dict[str, Any]:
    """Return what is posted of this alert of an episode."""
    merged = sets.merged(id_, made)
    sets.posted(id_, made, now_s)
    return merged


def test_one_episode_is_posted_as_it_is() -> None:
    sets = LabelSets()
    for made in (alert(3), alert(3, peak="9"), alert(3, end=7)):
        assert told(sets, "a", made) == made
    assert not len(sets)


def test_it_does_not_end_while_another_episode_of_its_labels_is_open() -> None:
    sets = LabelSets()
    told(sets, "a", alert(3, whose="a"))
    second = told(sets, "b", alert(5, whose="b"))
    assert (second["startsAt"], second["annotations"]["open"]) == ("000000003", "2")
    goes_on = told(sets, "a", alert(3, end=8))
    assert "endsAt" not in goes_on
    assert goes_on["annotations"] == {"size": "5", "whose": "b"}
    assert told(sets, "b", alert(5, end=7)) == alert(3, end=8) | {"annotations": {"size": "5"}}
    assert not len(sets)


def test_other_labels_end_by_themselves() -> None:
    sets = LabelSets()
    told(sets, "a", alert(3))
    told(sets, "b", alert(4, labels=REDIS))
    assert told(sets, "a", alert(3, end=5)) == alert(3, end=5)


def test_an_owner_that_becomes_known_later_changes_no_labels() -> None:
    sets = LabelSets()
    told(sets, "a", alert(3, labels={}))
    assert told(sets, "a", alert(3))["labels"] == {}
    assert told(sets, "a", alert(3, end=5)) == alert(3, end=5, labels={})


def test_what_was_not_posted_changes_nothing() -> None:
    sets = LabelSets()
    told(sets, "a", alert(3))
    assert "endsAt" in sets.merged("a", alert(3, end=4))  # and it fails
    assert told(sets, "b", alert(5))["annotations"]["open"] == "2"


def test_an_episode_whose_end_never_comes_holds_no_alert_open_for_ever() -> None:
    sets = LabelSets()
    told(sets, "lost", alert(3))
    told(sets, "a", alert(5), FORGET_S - 1)
    assert "endsAt" not in told(sets, "b", alert(5, end=6), FORGET_S - 1)
    told(sets, "a", alert(5), FORGET_S)
    assert told(sets, "a", alert(5, end=7), FORGET_S)["endsAt"] == "000000007"


def test_no_more_are_remembered_than_there_may_be() -> None:
    sets = LabelSets()
    for n in range(MOST_EPISODES + 7):
        told(sets, str(n), alert(n, labels={"n": str(n % 7)}))
    assert len(sets) == MOST_EPISODES


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from([0, 1])), max_size=30))
def test_an_alert_ends_exactly_when_the_last_of_its_episodes_does(
    events: list[tuple[str, bool, int]],
) -> None:
    sets, is_open = LabelSets(), dict[str, int]()
    for at, (id_, ends, which) in enumerate(events):
        labels = (NGINX, REDIS)[is_open.get(id_, which)]
        made = told(sets, id_, alert(at, end=at if ends else None, labels=labels))
        if ends:
            its = is_open.pop(id_, which)
            assert ("endsAt" in made) == (its not in is_open.values())
        else:
            is_open[id_] = is_open.get(id_, which)
            assert "endsAt" not in made
            assert made["labels"] == labels
        assert len(sets) == len(is_open)
