# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Slack and PagerDuty as their documentation limits them: all alerts arrive, in their order, whatever is answered.

Slack takes one message a second from a webhook and short bursts more; else it answers 429 with Retry-After. Both ask
for another try after 429 and 5xx.
"""

from __future__ import annotations

import json
import time
from contextlib import closing

from sockbpf.delivery.destinations.pagerduty import PagerDuty
from sockbpf.delivery.destinations.slack import Slack
from sockbpf.settings.destinations import PagerDutySettings
from tests.unit.offices import office, until
from tests.unit.pagerduty_service import KEY, pagerduty
from tests.unit.told_alerts import INCIDENT, Answered, posted, told

BURST, ALERTS = 3, 5
MOST_CHARACTERS = 40_000


class SlackRules:
    """Takes so many messages at once, then one a second."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.limited = 0
        self._allowed, self._at_s = float(BURST), time.monotonic()

    def answer(self, raw: bytes) -> Answered:
        now_s = time.monotonic()
        self._allowed, self._at_s = min(BURST, self._allowed + now_s - self._at_s), now_s
        text = json.loads(raw)["text"]
        if not 0 < len(text) <= MOST_CHARACTERS:
            return Answered(400)
        if self._allowed < 1:
            self.limited += 1
            return Answered(429, {"Retry-After": "1"})
        self._allowed -= 1
        self.taken.append(text)
        return Answered(200)


def test_slack_within_its_rate_is_never_asked_too_often() -> None:
    """The rate leaves room for a first message that takes longer on its way than the others: by up to 0.25 s."""
    rules = SlackRules()
    with posted(rules.answer) as posts, closing(Slack(url=posts.url, timeout_s=10)) as slack:
        at = office(None, {"slack": slack}, workers=1, rate=0.8, burst=BURST)
        at.put(*(told(id_=f"e{number}", seq=str(number)) for number in range(ALERTS)))
        until(lambda: len(rules.taken) == ALERTS)
        assert at.stop() == 0
    assert rules.limited == 0


def test_slack_that_is_asked_too_often_gets_all_later() -> None:
    rules = SlackRules()
    with posted(rules.answer) as posts, closing(Slack(url=posts.url, timeout_s=10)) as slack:
        at = office(None, {"slack": slack}, workers=1)
        at.put(*(told(id_=f"e{number}", seq=str(number)) for number in range(ALERTS)))
        until(lambda: len(rules.taken) == ALERTS)
        assert at.stop() == 0
    assert 1 <= rules.limited <= ALERTS  # it is left alone for the second that it asks for
    assert at.counted("given_up") == (0,)


def test_pagerduty_that_is_overloaded_has_the_incident_as_it_was() -> None:
    its = {"url": "", "routing_key": KEY, "name": "overloaded"}
    with pagerduty() as service:
        service.answers += [Answered(429, {"Retry-After": "1"}), Answered(503), Answered(500)]
        destination = PagerDuty(PagerDutySettings.model_validate(its | {"url": service.posts.url}))
        with closing(destination):
            at = office(None, {"pagerduty": destination}, workers=1)
            at.put(told(seq="1"), told("ongoing", seq="2"), told("cleared", seq="3"), told(id_="e2", seq="4"))
            until(lambda: service.opened == 2 or (service.opened == 1 and INCIDENT in service.open))
            at.put(told("cleared", id_="e2", seq="5"))
            until(lambda: bool(service.resolved) and not service.open)
            assert at.stop() == 0
    assert not service.refused
    assert at.counted("given_up") == (0,)
