"""The pulse of workers: silence is noticed, and only silence."""

from __future__ import annotations

from pytest_spip.dispatch.pulse import Pulse


def test_silence_is_noticed_after_patience() -> None:
    """A worker is silent when it was not heard for longer than patience lasts, not before."""
    pulse = Pulse(patience=10)
    pulse.heard("gw0", 100)
    pulse.heard("gw1", 105)
    assert list(pulse.silent(110)) == []
    assert list(pulse.silent(111)) == ["gw0"]
    assert list(pulse.silent(116)) == ["gw0", "gw1"]


def test_a_sign_of_life_ends_silence() -> None:
    """Whoever is heard again is not silent."""
    pulse = Pulse(patience=10)
    pulse.heard("gw0", 100)
    pulse.heard("gw0", 111)
    assert list(pulse.silent(120)) == []


def test_nothing_is_expected_of_others() -> None:
    """Workers that never spoke, and those that are forgotten, are not silent."""
    pulse = Pulse(patience=10)
    pulse.heard("gw0", 100)
    pulse.forget("gw0")
    pulse.forget("gw1")
    assert list(pulse.silent(1000)) == []
