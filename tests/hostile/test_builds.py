"""Source distributions that attack while they are built: what the report says, and what was left around."""

from __future__ import annotations

import os

import pytest

from tests.hostile.attack import Attack
from tests.hostile.broken import SOURCES
from tests.hostile.conftest import once, options_of, why_not
from tests.hostile.modes import Aftermath, sites

MODE = "root-warm" if os.getuid() == 0 else "user-warm"


def session() -> dict[str, Aftermath]:
    """Build all in one session."""
    with sites([os.getuid()], SOURCES) as site:
        return {MODE: site.session(MODE, os.getuid(), SOURCES, *options_of(MODE))}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    """Return what the session left."""
    if why := why_not(MODE):
        (pytest.fail if os.environ.get("SPIP_MUST_WORK") == "1" else pytest.skip)(why)
    return once(tmp_path_factory, "hostile-builds", session)[MODE]


@pytest.mark.parametrize("attack", SOURCES, ids=[attack.name for attack in SOURCES])
def test_verdict(built: Aftermath, attack: Attack) -> None:
    """A build that attacks is refused, or fails with the reason that it calls for."""
    assert built.cells(attack) == [attack.cell], built.of(attack)


def test_builds_reach_nothing(built: Aftermath) -> None:
    """Whoever listened heard nothing, no mark was made, and the canary is nowhere."""
    assert (built.heard, built.marks, built.canaries) == ([], [], [])


def test_nothing_is_left(built: Aftermath) -> None:
    """Nothing is unpacked outside, the home directory is as it was, no process is left."""
    assert (built.changed, built.left) == ([], [])
