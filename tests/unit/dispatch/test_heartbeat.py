"""The pulse of workers: silence is noticed, and only silence."""

from __future__ import annotations

from pytest_spip.dispatch.heartbeat import Heartbeat


def test_silence_is_noticed_after_patience() -> None:
    """A worker is silent when it was not heard for longer than patience lasts, not before."""
    heartbeat = Heartbeat(patience=10)
    heartbeat.heard("gw0", 100)
    heartbeat.heard("gw1", 105)
    assert list(heartbeat.silent(110)) == []
    assert list(heartbeat.silent(111)) == ["gw0"]
    assert list(heartbeat.silent(116)) == ["gw0", "gw1"]


def test_a_sign_of_life_ends_silence() -> None:
    """Whoever is heard again is not silent."""
    heartbeat = Heartbeat(patience=10)
    heartbeat.heard("gw0", 100)
    heartbeat.heard("gw0", 111)
    assert list(heartbeat.silent(120)) == []


def test_nothing_is_expected_of_others() -> None:
    """Workers that never spoke, and those that are forgotten, are not silent."""
    heartbeat = Heartbeat(patience=10)
    heartbeat.heard("gw0", 100)
    heartbeat.forget("gw0")
    heartbeat.forget("gw1")
    assert list(heartbeat.silent(1000)) == []
