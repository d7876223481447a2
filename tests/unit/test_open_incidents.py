# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which incidents are open at a receiver: as a plain model has it, within bounds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.delivery.destinations.open_incidents import (
    FORGET_S,
    GOES_ON_S,
    MOST_EPISODES,
    OpenIncidents,
    open_at,
    take_over,
)
from sockbpf.record.alert import Notice
from sockbpf.record.incident import fields_of, incident_of
from sockbpf.record.left import Left, lefts_of_notice
from tests.unit.notices import TCP, notice
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


def left(notice: Notice) -> Left:
    (made,) = lefts_of_notice(notice, "boot", 0)
    return replace(made, user="www-data")


def test_what_an_earlier_run_left_open_is_part_of_its_incident() -> None:
    """One queue of it ended while no monitor watched, another is over still: nothing is resolved, nobody called."""
    known = open_at("a receiver of an earlier run")
    gone, stays = (notice("exceeded", number, 5, queue=number) for number in (1, 2))
    take_over([left(gone), left(stays)], "web1", 0.0)
    end, goes_on = (
        told(event, its.id, netns=str(TCP.netns), local_port="443", remote_port=str(its.socket.remote_port))
        for event, its in (("cleared", gone), ("ongoing", stays))
        if its.socket
    )
    standing = known.standing(end)
    assert (standing.incident, standing.others) == (INCIDENT, 1)
    known.told(end, standing.incident, 1.0)
    standing = known.standing(goes_on)
    assert (standing.incident, standing.others, standing.is_known) == (INCIDENT, 0, False)
    known.told(goes_on, standing.incident, 2.0)
    assert known.standing(goes_on).is_known


def test_what_an_earlier_run_left_open_is_forgotten_soon() -> None:
    known = open_at("another receiver of an earlier run")
    take_over(
        [left(notice("exceeded", 1, 5)), replace(left(notice("exceeded", 2, 5)), fold="f0")], "web1", 0.0
    )
    assert len(known) == 1
    known.told(told(), INCIDENT, GOES_ON_S)
    assert known.standing(told("cleared")).others == 0


def test_an_episode_that_was_left_has_the_incident_of_its_alerts() -> None:
    rate = replace(left(notice("exceeded", 1, 5)), counter="UdpRcvbufErrors", user="")
    fold = replace(left(notice("exceeded", 1, 5)), is_fold=True)
    names = [incident_of(fields_of(each, "web1")) for each in (rate, fold)]
    assert names == ["web1/UdpRcvbufErrors/4026531840", f"web1/{fold.id}"]


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
