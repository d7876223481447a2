# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Episodes that were told and have not ended are found again by the next monitor, in a real journal."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sockbpf.delivery import open_book
from sockbpf.delivery.journal_lines import read
from sockbpf.delivery.open_book import NOBODY
from sockbpf.delivery.outbox import NewAlert
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Folded
from sockbpf.record.left import Left, lefts_of_notice
from tests.unit.notices import S, notice
from tests.unit.offices import Scripted, alert, office, refuse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def told(number: int, seq: int, event: str = EXCEEDED, peak: int = 0) -> NewAlert:
    """Return the alert of an episode, as the monitor makes it."""
    made = notice(event, number, seq * S, peak=3000 + peak)
    left = partial(lefts_of_notice, made, "boot", 0)
    return NewAlert(made.id, 0, lambda _: alert(made.id, seq, event), left=left)


def told_of_several(seq: int, event: str, *numbers: int) -> NewAlert:
    """Return a folded alert, of sockets that came to it with this one or earlier."""
    members = tuple(notice(EXCEEDED, number, seq * S, number) for number in numbers)
    folded = Folded(notice(event, 0, seq * S, peak=3000), 3, (), members=members)
    left = partial(lefts_of_notice, folded, "boot", 0)
    return NewAlert("fold", 0, lambda _: alert(folded.notice.id, seq, event), left=left)


def _always(fields: dict[str, str], _: int) -> dict[str, str]:
    return fields


def found(path: Path) -> dict[str, int]:
    """Return the peaks of the episodes that the next monitor finds open, by id."""
    at = office(path, {"http": Scripted()})
    lefts = {left.id: left.peak for left in at.outbox.left_open}
    assert at.stop() == 0
    return lefts


def test_what_was_told_and_has_not_ended_is_found_by_the_next_monitor_and_the_one_after_it(
    path: Path,
) -> None:
    at = office(path, {"http": Scripted()})
    at.outbox.put([told(1, 1), told(2, 2), told(3, 3), told(2, 4, CLEARED), told(3, 5, ONGOING, peak=7)])
    assert at.stop() == 0
    assert at.counted("delivered") == (5,)
    assert found(path) == {"id-0-1": 3000, "id-0-3": 3007}
    assert found(path) == {"id-0-1": 3000, "id-0-3": 3007}
    assert sum(owed.destination == NOBODY for owed in read(path.read_bytes()).owed.values()) == 2


def test_the_fields_of_the_first_alert_are_kept_over_runs(path: Path) -> None:
    """Labels are made of them: the process may become known later."""
    made = notice(EXCEEDED, 1, S)
    left = partial(lefts_of_notice, made, "boot", 0)
    for more in ({}, {"comm": "nginx"}, {"comm": "nginx"}):
        fields = {**alert(made.id, 1), "host": "web1", **more}
        at = office(path, {"http": Scripted()})
        at.outbox.put([NewAlert("x", 0, partial(_always, fields), left=left)])
        assert at.stop() == 0
        then = office(path, {"http": Scripted()})
        (found_open,) = then.outbox.left_open
        assert then.stop() == 0
        first = found_open.first_fields()
        assert (first["host"], first.get("comm")) == ("web1", None)


def test_an_end_in_a_later_run_is_the_end(path: Path) -> None:
    at = office(path, {"http": Scripted()})
    at.outbox.put([told(1, 1), told(2, 2)])
    assert at.stop() == 0
    then = office(path, {"http": Scripted()})
    then.outbox.put([told(1, 3, CLEARED)])
    assert then.stop() == 0
    assert list(found(path)) == ["id-0-2"]


def test_they_are_owed_to_nobody(path: Path) -> None:
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=3600)
    at.outbox.put([told(1, 1)])
    assert at.stop(0.1) == 1
    destination = Scripted()
    then = office(path, {"http": destination})
    assert then.stop() == 0
    assert then.counted("recovered_owed", "delivered", "given_up") == (1, 1, 0)
    assert destination.seqs() == [1]
    assert [left.id for left in then.outbox.left_open] == ["id-0-1"]


def test_of_a_fold_all_that_it_told_of_are_kept_until_it_ends(path: Path) -> None:
    at = office(path, {"http": Scripted()})
    at.outbox.put([told_of_several(1, EXCEEDED, 1, 2), told_of_several(2, EXCEEDED, 3), told(7, 3)])
    at.outbox.put([told_of_several(4, ONGOING)])
    assert at.stop() == 0
    assert set(found(path)) == {"id-0-0", "id-1-1", "id-2-2", "id-3-3", "id-0-7"}
    then = office(path, {"http": Scripted()})
    folds = {left.id: (left.is_fold, left.fold) for left in then.outbox.left_open}
    assert (folds["id-0-0"], folds["id-2-2"]) == ((True, ""), (False, "id-0-0"))
    then.outbox.put([told_of_several(5, CLEARED)])
    assert then.stop() == 0
    assert list(found(path)) == ["id-0-7"]


def test_what_was_told_first_is_known_although_a_fold_told_of_it_since() -> None:
    book = open_book.OpenBook()
    told_alone = replace(lefts_of_notice(notice(EXCEEDED, 1, S), "boot", 0)[0], first='{"name":"first"}')
    for n, left in enumerate((told_alone, replace(told_alone, fold="id-0-0", first=""))):
        book.keep(left, open_book.open_of(alert(left.id, n), left, n, (0.0, "boot", 0.0)))
    assert book.first(told_alone.id) == told_alone.first


def test_what_makes_no_sense_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = office(path, {"http": Scripted()})
    at.outbox.put([told(1, 1)])
    assert at.outbox.flush(60)
    monkeypatch.setattr(Left, "text", lambda _: '{"id":7}')
    at.outbox.put([told(2, 2)])
    assert at.stop() == 0
    assert list(found(path)) == ["id-0-1"]
    assert sum(owed.destination == NOBODY for owed in read(path.read_bytes()).owed.values()) == 1


def test_of_too_many_the_oldest_are_not_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_book, "MOST_OPEN", 3)
    at = office(path, {"http": Scripted()})
    at.outbox.put([told(number, number) for number in range(1, 6)])
    at.outbox.put([told(3, 6, ONGOING), told(6, 7)])
    assert at.stop() == 0
    assert list(found(path)) == ["id-0-5", "id-0-3", "id-0-6"]


def test_without_a_journal_nothing_is_kept() -> None:
    at = office(None, {"http": Scripted()})
    at.outbox.put([told(1, 1)])
    assert at.stop() == 0
    assert at.outbox.left_open == []
