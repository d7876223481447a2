# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which incidents are open at a receiver: as a plain model has it, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.delivery.destinations.open_incidents import FORGET_S, MOST_EPISODES, OpenIncidents, open_at
from tests.unit.told_alerts import INCIDENT, told

ALERTS = st.tuples(
    st.sampled_from(["exceeded", "ongoing", "cleared"]),
    st.sampled_from("abcdef"),
    st.sampled_from(["443", "80"]),
)


@given(st.lists(ALERTS))
def test_what_is_open_is_what_a_model_has(alerts: list[tuple[str, str, str]]) -> None:
    known, model = OpenIncidents(), dict[str, str]()
    for event, id_, port in alerts:
        fields = told(event, id_, local_port=port)
        standing = known.standing(fields)
        incident = model.get(id_, f"web1/tcp {port}/www-data/4026531840")
        others = [each for each, its in model.items() if its == incident and each != id_]
        assert (standing.incident, standing.others) == (incident, len(others))
        assert standing.is_known == (incident in model.values())
        known.told(fields, standing.incident, 0.0)
        model.pop(id_, None)
        if event != "cleared":
            model[id_] = incident
        assert len(known) == len(model)


def test_what_was_not_told_for_an_hour_is_forgotten() -> None:
    known = OpenIncidents()
    known.told(told(id_="a"), INCIDENT, 0.0)
    known.told(told(id_="b"), INCIDENT, FORGET_S - 1)
    assert known.standing(told("cleared", "b")).others == 1
    known.told(told("ongoing", "b"), INCIDENT, FORGET_S)
    assert known.standing(told("cleared", "b")).others == 0


def test_so_many_are_remembered() -> None:
    known = OpenIncidents()
    for number in range(MOST_EPISODES + 7):
        known.told(told(id_=str(number)), INCIDENT, 0.0)
    assert len(known) == MOST_EPISODES
    assert known.standing(told(id_="x")).others == MOST_EPISODES


def test_what_is_open_somewhere_is_known_to_new_settings() -> None:
    open_at("somewhere").told(told(), INCIDENT, 0.0)
    assert open_at("somewhere").standing(told("cleared")).is_known
    assert not open_at("elsewhere").standing(told("cleared")).is_known
