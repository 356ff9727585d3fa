"""The pulse of workers: silence is noticed, and only silence; answers belong to their questions."""

from __future__ import annotations

from pytest_spip.dispatch.heartbeat import Heartbeat, Question


def test_silence_is_noticed_after_patience() -> None:
    """A worker is silent when it was not heard for longer than patience lasts, not before."""
    heartbeat = Heartbeat(patience=10)
    heartbeat.joined("gw0", 100)
    heartbeat.joined("gw1", 105)
    assert list(heartbeat.silent(110)) == []
    assert list(heartbeat.silent(111)) == ["gw0"]
    assert list(heartbeat.silent(116)) == ["gw0", "gw1"]


def test_an_answer_ends_silence() -> None:
    """Whoever is heard again is not silent."""
    heartbeat = Heartbeat(patience=10)
    heartbeat.joined("gw0", 100)
    heartbeat.asked("gw0", Question.LIFE)
    assert heartbeat.answered("gw0", 111) is Question.LIFE
    assert list(heartbeat.silent(120)) == []


def test_nothing_is_expected_of_others() -> None:
    """Workers that never spoke, and those that are forgotten, are not silent, and have answered nothing."""
    heartbeat = Heartbeat(patience=10)
    heartbeat.joined("gw0", 100)
    heartbeat.asked("gw0", Question.UNITS)
    heartbeat.forget("gw0")
    heartbeat.forget("gw1")
    assert list(heartbeat.silent(1000)) == []
    assert [heartbeat.answered(one, 1000) for one in ("gw0", "gw1")] == [None, None]
    assert "gw0" not in heartbeat


def test_answers_come_in_the_order_of_questions() -> None:
    """An answer that comes after something was given, to a question from before, is no receipt."""
    heartbeat = Heartbeat()
    heartbeat.joined("gw0", 100)
    heartbeat.asked("gw0", Question.LIFE)
    heartbeat.asked("gw0", Question.RECEIPT, [7])
    heartbeat.asked("gw0", Question.UNITS, [7])
    received = [(heartbeat.answered("gw0", 101), heartbeat.has_received("gw0", [7])) for _ in range(3)]
    assert received == [(Question.LIFE, False), (Question.RECEIPT, True), (Question.UNITS, True)]


def test_who_was_not_asked_has_received_all() -> None:
    """Receipts are asked for where they matter only."""
    heartbeat = Heartbeat()
    heartbeat.joined("gw0", 100)
    heartbeat.asked("gw0", Question.LIFE)
    assert heartbeat.has_received("gw0", [1])
    assert heartbeat.has_received("gw1", [1])


def test_a_receipt_is_for_what_was_given() -> None:
    """What was given before, and acknowledged or not to be, was received, whatever is given on top; a dismissal is for all."""
    heartbeat = Heartbeat()
    heartbeat.joined("gw0", 100)
    heartbeat.asked("gw0", Question.RECEIPT, [2, 3])
    assert [heartbeat.has_received("gw0", units) for units in ([1], [1, 2], [3], [])] == [True, False, False, True]
    heartbeat.asked("gw0", Question.RECEIPT)
    heartbeat.answered("gw0", 101)
    assert not heartbeat.has_received("gw0", [1])
