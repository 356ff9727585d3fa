"""Suites as provisioning sees them: a project's beside each release, and a release's own; what they need, and what they see."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pytest_spip.common.trees import remove_tree
from pytest_spip.model import Combo, Environment, Outcome, Phase, Plan, Reason
from pytest_spip.provision.project import Project, open_project
from pytest_spip.provision.wanted import Wanted
from tests.support.distributions import (
    PYTEST_WHEELS,
    Content,
    builds,
    installed,
    project,
    sdist,
    simple_sdist,
    suite_metadata,
    wheel,
)
from tests.support.index import LocalIndex
from tests.support.provisions import End, Made, judged, planned, provisioned
from tests.support.supply import Supply

SUITE = Wanted(suite=True)
FILES = {"src/mine/__init__.py": "", "mine/__init__.py": "", "tests/test_mine.py": "import six\n"}
HERE = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supply]:
    """Make a world whose index lists pytest, what tests need, and two releases of ``demo``."""
    files = tmp_path / "files"
    files.mkdir()
    for name in PYTEST_WHEELS:
        installed(files, name)
    for name in ("six", "toml"):
        for version in ("1.0", "2.0"):
            wheel(files, name, version, {f"{name}.py": ""})
    for version in ("1.0", "2.0"):
        wheel(files, "demo", version, {"demo.py": ""})
    with LocalIndex(files, core_metadata=True) as index:
        made = Supply(tmp_path, index)
        for name, value in made.environ.items():
            monkeypatch.setenv(name, value)
        yield made


def mine(
    supply: Supply, *requires: str, wanted: Wanted = SUITE, files: Mapping[str, Content] = FILES, **options: object
) -> Project:
    """Write and open a project that has an extra and a group for its tests."""
    metadata = suite_metadata("mine", "1.0", *requires, 'six; extra == "test"', extras=["test"])
    given = {"installs": ["mine/__init__.py"], "metadata": metadata, "groups": 'dev = ["toml<2"]', **options}
    directory = project(supply.root / "mine", "mine", "1.0", files, **given)  # type: ignore[arg-type]  # passed on
    return open_project(directory, wanted, supply.here(), supply.cache, supply.uv())


def made_of(done: End) -> Environment:
    """Return the environment of a combination that has one."""
    assert done.environment is not None, done.verdict
    return done.environment


def seen(done: End) -> set[str]:
    """Return the paths of the files that a suite sees."""
    tree = Path(made_of(done).tree)
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}


def own_suite(supply: Supply, version: str = "3.0", *, groups: str = "", **more: Content) -> None:
    """List a release with a wheel and an sdist that has tests."""
    requires, extras = ['six; extra == "testing"'], ["testing"]
    metadata = suite_metadata("demo", version, *requires, extras=extras)
    wheel(supply.files, "demo", version, {"demo.py": ""}, extra_dist_info={"METADATA": metadata})
    pyproject = f"[build-system]\nrequires = []\n[dependency-groups]\n{groups}\n" if groups else None
    files = {"PKG-INFO": metadata, "src/demo.py": "", "test_demo.py": "", **more}
    sdist(supply.files, "demo", version, files, pyproject=pyproject)


# -- a project's suite --------------------------------------------------------------------------------------------------


def test_project_beside_each_release(supply: Supply, tmp_path: Path) -> None:
    """Each release is pinned, with the project, the extras and groups of its tests, and pytest; the project is built once."""
    counter = tmp_path / "builds"
    made = provisioned(supply, wanted=SUITE, project=mine(supply, "demo", counter=str(counter)))
    assert [made_of(done).locked["demo"] for done in made.values()] == ["1.0", "2.0"]
    for done in made.values():
        locked = made_of(done).locked
        assert {"mine": "1.0", "six": "2.0", "toml": "1.0"}.items() <= locked.items()
        assert "pytest" in locked
        assert seen(done) == {"pyproject.toml", "backend.py", "backend.json", *FILES}
    assert builds(counter) == [HERE]


def test_released_twin(supply: Supply) -> None:
    """Where an index lists the version that the project has, the project's own wheel is taken all the same."""
    twin = wheel(
        supply.files, "mine", "1.0", {"twin.py": ""}, tag=f"cp{sys.version_info[0]}{sys.version_info[1]}-none-any"
    )
    made = provisioned(supply, wanted=SUITE, project=mine(supply))
    for done in made.values():
        (own,) = (each for each in made_of(done).wheels if each.name == "mine")
        assert own.modules == ("mine",)
    assert twin.exists()


def test_requirements_of_the_user(supply: Supply) -> None:
    """What the user adds is in every environment, with a check of any kind, and without a tree where there is no suite."""
    done = provisioned(supply, wanted=Wanted(extra_requirements=("six<2",)))
    assert [made_of(each).locked.get("six") for each in done.values()] == ["1.0", "1.0"]
    assert {made_of(each).tree for each in done.values()} == {""}


def test_conflicting_pins(supply: Supply) -> None:
    """A release that the project does not admit has no solution, and the words name both."""
    made = list(provisioned(supply, wanted=SUITE, project=mine(supply, "demo>=2")).values())
    assert judged(made[0]) == (Outcome.SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION)
    assert made[0].verdict is not None
    assert "mine" in made[0].verdict.detail
    assert "demo==1.0" in made[0].verdict.detail
    assert made[1].environment is not None


def test_project_that_does_not_build_on_one(supply: Supply) -> None:
    """A project that does not build on one interpreter fails there alone, with its name before the reason."""
    opened = mine(supply, fails_on=HERE)
    plan = planned(supply, interpreters=[supply.here(), supply.another()])
    made = list(provisioned(supply, plan, wanted=SUITE, project=opened).values())
    broken = [done for done in made if done.environment is None]
    assert len(broken) == 2
    for done in broken:
        assert judged(done) == (Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED)
        assert done.verdict is not None
        assert done.verdict.detail == f"mine: RuntimeError: no compiler for {HERE}"


def test_nothing_stale(supply: Supply) -> None:
    """A second run takes everything from the cache; a changed source, test or wish makes other environments."""
    wants = [SUITE, SUITE, Wanted(suite=True, extra_requirements=("six<2",))]
    first, again, other = (provisioned(supply, wanted=wanted, project=mine(supply)) for wanted in wants)
    assert [dict(done.work) for done in again.values()] == [{}, {}]
    assert environments(first) == environments(again)
    assert {made_of(done).locked["six"] for done in other.values()} == {"1.0"}
    tests = mine(supply, files={**FILES, "tests/test_mine.py": "import toml\n"})
    source = mine(supply, files={**FILES, "mine/__init__.py": "x = 1\n"})
    found = [environments(provisioned(supply, wanted=SUITE, project=one)) for one in (tests, source)]
    prints = {one.fingerprint for group in (environments(first), *found) for one in group}
    assert len(prints) == 6


def environments(made: Made) -> list[Environment]:
    """Return all environments."""
    return [made_of(done) for done in made.values()]


def test_lost_tree(supply: Supply) -> None:
    """A tree that somebody cleared away is made again."""
    opened = mine(supply)
    first = provisioned(supply, wanted=SUITE, project=opened)
    for done in first.values():
        remove_tree(Path(made_of(done).tree))
    again = provisioned(supply, wanted=SUITE, project=mine(supply))
    assert environments(first) == environments(again)
    assert all(seen(done) for done in again.values())


# -- low versions -------------------------------------------------------------------------------------------------------


def with_resolution(plan: Plan, resolution: str) -> Plan:
    """Return a plan whose combinations are resolved in another way."""
    combos = tuple(dataclasses.replace(combo, resolution=resolution) for combo in plan.combos)
    return dataclasses.replace(plan, combos=combos)


def list_chain(supply: Supply) -> None:
    """List two versions of ``low``, which need ``deep``, of which there are two versions as well."""
    for version in ("1.0", "2.0"):
        wheel(supply.files, "deep", version, {"deep.py": ""})
        wheel(supply.files, "low", version, {"low.py": ""}, requires=["deep"])


@pytest.mark.parametrize(
    ("resolution", "low", "deep"),
    [("", "2.0", "2.0"), ("highest", "2.0", "2.0"), ("lowest-direct", "1.0", "2.0"), ("lowest", "1.0", "1.0")],
)
def test_resolution(supply: Supply, resolution: str, low: str, deep: str) -> None:
    """``lowest-direct`` lowers what a release requires itself, ``lowest`` all that follows from it too."""
    list_chain(supply)
    wheel(supply.files, "demo", "3.0", {"demo.py": ""}, requires=["low>=1"])
    made = provisioned(supply, with_resolution(planned(supply), resolution))
    locked = made_of(list(made.values())[-1]).locked
    assert (locked["low"], locked["deep"]) == (low, deep)


def test_lower_bounds_of_a_project(supply: Supply) -> None:
    """With a project, its own lower bounds are tried, and what its tests need is not lowered."""
    list_chain(supply)
    plan = with_resolution(planned(supply), "lowest-direct")
    made = provisioned(supply, plan, wanted=SUITE, project=mine(supply, "low>=1"))
    for done in made.values():
        locked = made_of(done).locked
        assert (locked["low"], locked["deep"], locked["six"]) == ("1.0", "2.0", "2.0")


def test_resolutions_are_kept_apart(supply: Supply) -> None:
    """What one way of resolving came to is not taken for another's, and each lock is kept with the run."""
    list_chain(supply)
    wheel(supply.files, "demo", "3.0", {"demo.py": ""}, requires=["low"])
    plans = [with_resolution(planned(supply), way) for way in ("", "lowest", "", "lowest")]
    made = [list(provisioned(supply, plan).values())[-1] for plan in plans]
    assert [made_of(done).locked["low"] for done in made] == ["2.0", "1.0", "2.0", "1.0"]
    label = supply.here().label
    kept = {path.name for path in (supply.root / "kept").iterdir()}
    assert {f"demo-3.0-{label}.toml", f"demo-3.0-{label}-lowest.toml"} <= kept


# -- a release's own suite ----------------------------------------------------------------------------------------------


def test_own_suite(supply: Supply) -> None:
    """A release's tests come from its sdist and see the wheel; they have its extras and groups of the usual names, and pytest."""
    own_suite(supply, groups='test = [{include-group = "more"}]\nmore = ["toml"]')
    done = list(provisioned(supply, wanted=SUITE).values())[-1]
    assert {"demo": "3.0", "six": "2.0", "toml": "2.0"}.items() <= made_of(done).locked.items()
    assert "pytest" in made_of(done).locked
    assert seen(done) == {"PKG-INFO", "pyproject.toml", "src/demo.py", "test_demo.py"}
    assert made_of(done).place == "demo-3.0"


def test_release_without_sdist(supply: Supply) -> None:
    """A release that has no sdist has no tests, and is left out."""
    made = list(provisioned(supply, wanted=SUITE).values())
    assert [judged(done) for done in made] == [(Outcome.SKIPPED, Phase.PLAN, Reason.EXCLUDED)] * 2
    assert made[0].verdict is not None
    assert made[0].verdict.detail == "1.0 has no sdist, and so no tests that could be run"


@pytest.mark.parametrize(
    ("wanted", "groups", "told"),
    [
        (Wanted(suite=True, extras=("nope",)), "", "there is neither extra nor group 'nope': extras are testing and"),
        (SUITE, 'test = ["x @ file:///etc/passwd"]', "which no index lists"),
        (SUITE, 'test = ["=>1"]', "dependency group 'test'"),
    ],
)
def test_needs_that_cannot_be_met(supply: Supply, wanted: Wanted, groups: str, told: str) -> None:
    """A suite whose requirements cannot be had has no solution, and the words name the sdist."""
    own_suite(supply, groups=groups)
    done = list(provisioned(supply, wanted=wanted).values())[-1]
    assert judged(done) == (Outcome.SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION)
    assert done.verdict is not None
    assert done.verdict.detail.startswith("demo-3.0.tar.gz: ")
    assert told in done.verdict.detail


def test_damaged_sdist(supply: Supply) -> None:
    """An sdist that cannot be unpacked is the release's fault."""
    own_suite(supply)
    (supply.files / "demo-3.0.tar.gz").write_bytes(b"no archive")
    done = list(provisioned(supply, wanted=SUITE).values())[-1]
    assert judged(done)[:2] == (Outcome.FAILED, Phase.BUILD)


def test_own_suite_is_remembered(supply: Supply) -> None:
    """A second run knows the environment and its tree without asking anybody."""
    own_suite(supply)
    plan = planned(supply)
    first = list(provisioned(supply, plan, wanted=SUITE).values())[-1]
    asked = list(supply.index.requests)
    again = list(provisioned(supply, plan, wanted=SUITE).values())[-1]
    assert (made_of(first), dict(again.work)) == (made_of(again), {})
    assert asked == supply.index.requests


def test_import_beside_suite(supply: Supply) -> None:
    """The same release is another environment for another check."""
    own_suite(supply)
    suite, plain = (list(provisioned(supply, wanted=wanted).values())[-1] for wanted in (SUITE, Wanted()))
    assert made_of(plain).locked == {"demo": "3.0"}
    assert made_of(suite).fingerprint != made_of(plain).fingerprint


# -- crosses ------------------------------------------------------------------------------------------------------------


def crossed(supply: Supply, resolution: str = "") -> Plan:
    """Return a plan of each release of ``demo`` with each of ``toml``."""
    plan = planned(supply, "demo", "toml")
    versions = [[one.version for one in plan.releases if one.package == name] for name in ("demo", "toml")]
    here = supply.here()
    combos = [
        Combo(
            0, "demo", own, here.id, here.label, others=(("toml", other),), others_extras=((),), resolution=resolution
        )
        for own, other in itertools.product(*versions)
    ]
    numbered = tuple(dataclasses.replace(one, ordinal=ordinal) for ordinal, one in enumerate(combos))
    return dataclasses.replace(plan, combos=numbered)


def test_cross(supply: Supply) -> None:
    """In a cross all releases of a combination are pinned, built where they have no wheel, and remembered together."""
    simple_sdist(supply.files, "toml", "3.0", {"toml.py": ""})
    plan = crossed(supply)
    made = provisioned(supply, plan)
    locked = [made_of(done).locked for done in made.values()]
    assert locked == [{"demo": one, "toml": other} for one in ("1.0", "2.0") for other in ("1.0", "2.0", "3.0")]
    again = provisioned(supply, plan)
    assert environments(again) == environments(made)
    assert not any(done.work for done in again.values())
    assert len(list((supply.root / "kept").iterdir())) == len(plan.combos)


def test_lowered_cross(supply: Supply) -> None:
    """``lowest-direct`` lowers what each release of a cross requires."""
    list_chain(supply)
    wheel(supply.files, "demo", "3.0", {"demo.py": ""}, requires=["low"])
    wheel(supply.files, "toml", "3.0", {"toml.py": ""}, requires=["six"])
    done = list(provisioned(supply, crossed(supply, "lowest-direct")).values())[-1]
    assert made_of(done).locked == {"demo": "3.0", "toml": "3.0", "low": "1.0", "deep": "2.0", "six": "1.0"}
