"""Sessions that all tests here look at."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import pytest

from pytest_spip.run.levels import try_level
from tests.hostile.modes import MODES, OFF, SOMEBODY, Aftermath, attacks_of, kept, sites
from tests.hostile.world import python_of

After = Callable[[str], Aftermath]


@functools.cache
def why_not(mode: str) -> str:
    """Return why a mode cannot be had on this machine; nothing when it can."""
    who = mode.partition("-")[0]
    if who == "root" and os.getuid():
        return "needs root"
    if who == "user" and not os.getuid() and not python_of([0, SOMEBODY]):
        return "no Python here that an ordinary user could start"
    why = try_level(3) if mode != OFF else ""
    return f"no sandbox of level 3 here: {why}" if why else ""


def user_of(mode: str) -> int:
    """Return the uid that a mode's session runs as."""
    return SOMEBODY if mode.startswith("user") and os.getuid() == 0 else os.getuid()


def sessions() -> dict[str, Aftermath]:
    """Run all modes, one after another on one machine; without a sandbox last, for what escapes stays."""
    modes = [mode for mode in (*MODES, OFF) if not why_not(mode)]
    attacks = list(dict.fromkeys(attack for mode in modes for attack in attacks_of(mode)))
    with sites([user_of(mode) for mode in modes], attacks) as site:
        return {mode: site.session(mode, user_of(mode), attacks_of(mode), *options_of(mode)) for mode in modes}


def options_of(mode: str) -> tuple[str, ...]:
    """Return the options that make a mode; ``strict`` lets no attack loose by accident."""
    if mode == OFF:
        return "--spip-sandbox=off", "--spip-runner=warm"
    return "--spip-sandbox=strict", f"--spip-runner={mode.partition('-')[2]}"


def once(factory: pytest.TempPathFactory, name: str, run: Callable[[], dict[str, Aftermath]]) -> dict[str, Aftermath]:
    """Return what sessions left, which are run once for all of xdist's workers."""
    shared = factory.getbasetemp()
    return kept((shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / f"{name}.json", run)


@pytest.fixture(scope="session")
def after(tmp_path_factory: pytest.TempPathFactory) -> After:
    """Return a function that returns what a mode's session left."""

    @functools.cache
    def known() -> dict[str, Aftermath]:
        return once(tmp_path_factory, "hostile", sessions)

    def after(mode: str) -> Aftermath:
        if why := why_not(mode):
            (pytest.fail if os.environ.get("SPIP_MUST_WORK") == "1" and why != "needs root" else pytest.skip)(why)
        return known()[mode]

    return after
