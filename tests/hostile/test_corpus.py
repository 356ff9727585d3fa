"""Every attack in every mode: what the report says of it, and what was left around it."""

from __future__ import annotations

import pytest

from tests.hostile.attack import Attack, Off
from tests.hostile.conftest import After
from tests.hostile.modes import MODES, OFF, attacks_of


def lacking(attack: Attack) -> list[pytest.MarkDecorator]:
    """Mark what is known not to hold yet."""
    return [pytest.mark.xfail(reason=attack.lacking, strict=False)] if attack.lacking else []


each_mode = pytest.mark.parametrize("mode", MODES)
CASES = [
    pytest.param(mode, attack, id=f"{mode}-{attack.name}", marks=lacking(attack))
    for mode in MODES
    for attack in attacks_of(mode)
]
FREE = [pytest.param(attack, id=attack.name) for attack in attacks_of(OFF)]


@pytest.mark.parametrize(("mode", "attack"), CASES)
def test_verdict(after: After, mode: str, attack: Attack) -> None:
    """An attack is refused, or ends with the reason that it calls for, in the first attempt."""
    found = after(mode).of(attack)
    assert after(mode).cells(attack) == [attack.cell] * attack.versions, found
    assert all(attack.detail in one["detail"] and one["attempts"] == 1 for one in found), found


@pytest.mark.parametrize("attack", FREE)
def test_attack_bites(after: After, attack: Attack) -> None:
    """Without a sandbox the same attack gets through, which proves that the tests bite."""
    told = " ".join(one["detail"] for one in after(OFF).of(attack))
    if "escaped" not in told and attack.off == Off.MAY:
        pytest.skip("this machine, or this user, does not allow it anyway")
    assert "escaped" in told, after(OFF).of(attack)


@each_mode
def test_no_canary_is_shown(after: After, mode: str) -> None:
    """The canary is in no output, no report, no database and no cache."""
    assert after(mode).canaries == []


@each_mode
def test_listeners_heard_nothing(after: After, mode: str) -> None:
    """Nobody who listened heard anything."""
    assert after(mode).heard == []


@each_mode
def test_nothing_was_written_outside(after: After, mode: str) -> None:
    """No mark was made, the home directory is as it was, and so are the places that all share."""
    assert (after(mode).marks, after(mode).changed) == ([], [])


@each_mode
def test_nobody_was_harmed(after: After, mode: str) -> None:
    """Other processes of the same user live on as they were."""
    assert after(mode).harmed == []


@each_mode
def test_nothing_is_left(after: After, mode: str) -> None:
    """No process and no worktree outlives the session."""
    assert after(mode).left == []


@each_mode
def test_every_combination_has_a_verdict_on_the_package(after: After, mode: str) -> None:
    """No attack becomes an error of ours, and the one who attacks nobody passes after them all."""
    combinations = after(mode).combinations
    assert len(combinations) == sum(attack.versions for attack in attacks_of(mode)) + 1
    known = [one["id"] for attack in attacks_of(mode) if attack.lacking for one in after(mode).of(attack)]
    assert [name for name, one in combinations.items() if one["outcome"] == "error" and name not in known] == []
    assert next(reversed(combinations.values()))["outcome"] == "passed"
    assert after(mode).status == 1


@each_mode
def test_text_is_harmless(after: After, mode: str) -> None:
    """Nothing that a package wrote moves a cursor or turns letters round, on the terminal or in the report."""
    for text in (after(mode).output, *(one["detail"] + one["output"] for one in after(mode).combinations.values())):
        assert {letter for letter in text if not letter.isprintable()} <= {"\n", "\t"}


def test_canary_is_shown_without_a_sandbox(after: After) -> None:
    """What is looked for can be found: attacks that get through show the canary, are heard and leave marks."""
    free = after(OFF)
    assert free.canaries
    assert {"tcp", "udp", "abstract_socket", "abstract_datagram", "path_socket", "path_datagram"} <= set(free.heard)
    assert {"writes_mark", "overwrites"} <= set(free.marks)
    assert ".bashrc" in free.changed
    assert free.harmed
