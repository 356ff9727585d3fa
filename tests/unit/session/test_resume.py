"""With which options a recorded run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.options import Settings
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.resume import Interrupted, is_complete, public_command, resumed_settings, settings_to_plain
from tests.support.rooms import combo, plan, result, run_facts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Record a run that has begun."""
    directory = RunDirectory.create(tmp_path, "one")
    settings = settings_to_plain(Settings(("demo",), build="never"), run="one", cache=tmp_path / "cache")
    writer = RunWriter(directory.database)
    writer.create(plan(combo()), run_facts(settings=settings))
    writer.close()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("fail-on", "never", "fail_on", "never"),
        ("cache-size", "1GiB", "cache_size", 1 << 30),
        ("profile", "max", "profile", "max"),
    ],
)
def test_options_that_may_be_chosen_anew(root: Path, name: str, value: str, field: str, expected: object) -> None:
    """What decides on no verdict holds for the session that names it, whatever the option's name."""
    settings = resumed_settings(root, {"resume": "one", name: value}, root)
    assert getattr(settings, field) == expected
    assert (settings.matrix, settings.build, settings.resume) == (("demo",), "never", "one")


def test_a_baseline_is_written_by_a_later_session(root: Path) -> None:
    """A run that was interrupted can still update the baseline."""
    given = {"resume": "one", "baseline": "known.txt", "update-baseline": True}
    settings = resumed_settings(root, given, root)
    assert (settings.baseline, settings.update_baseline) == ("known.txt", True)


def test_options_that_decide_on_verdicts_stay(root: Path) -> None:
    """Who asks for something else than the run was made with is told so."""
    with pytest.raises(UsageProblem, match="--spip-build: run one has never"):
        resumed_settings(root, {"resume": "one", "build": "auto"}, root)


@pytest.mark.parametrize("password", ["secret", "se'cret", "se$cret", "se%40cret"])
def test_password_in_a_recorded_command(password: str) -> None:
    """It is left out, whatever of it a shell would have quoted."""
    address = f"postgresql://me:{password}@host/runs"
    command = public_command(Settings(("demo",), queue=address), ["-n2", f"--spip-queue={address}", "a b"])
    assert command == "pytest -n2 --spip-queue=postgresql://me@host/runs 'a b'"


def test_command_without_a_queue() -> None:
    """It is recorded as it was given."""
    assert public_command(Settings(("demo",)), ["-k", "a b"]) == "pytest -k 'a b'"


def test_one_of_several_directories_of_a_run(root: Path) -> None:
    """Hosts with one root directory have a directory each for the run that they share: the one that is named goes on."""
    directory = RunDirectory.create(root, "one.other")
    writer = RunWriter(directory.database)
    settings = settings_to_plain(Settings(("demo",), build="never"), run="one", cache=root / "cache")
    writer.create(plan(combo()), run_facts(settings=settings))
    writer.verdict(result())
    writer.close()
    first, other = (resumed_settings(root, {"resume": name}, root) for name in ("one", "one.other"))
    assert (is_complete(root, first), is_complete(root, other)) == (False, True)
    assert Interrupted(root, other, keep=False).directory == directory
