"""Resolutions that need what offers no wheel: it is built first, as an installer would have built it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.errors import NetworkProblem
from pytest_spip.model import Phase, Reason
from pytest_spip.provision.locks import Lock, selected
from pytest_spip.provision.uv_output import Failure
from tests.support.distributions import builds, sdist, simple_sdist, wheel
from tests.support.index import Fault
from tests.support.supply import Supply

GOOD = {"demo.py": ""}


@pytest.fixture
def supply(supply: Supply) -> Supply:
    """Make a world in which the release ``demo`` 1.0 needs ``dep``."""
    wheel(supply.root / "files", "demo", "1.0", GOOD, requires=["dep"])
    return supply


def need(supply: Supply, *requires: str) -> None:
    """Have the release need something else."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=requires)


def source(supply: Supply, name: str, version: str, *requires: str, fails: str = "") -> None:
    """List a release that has only an sdist."""
    counter = supply.root / f"{name}-{version}"
    simple_sdist(supply.files, name, version, {f"{name}.py": ""}, requires=requires, fails=fails, counter=counter)


def made(supply: Supply) -> set[str]:
    """Return what was built, and see that nothing was built twice."""
    counters = [path for path in supply.root.iterdir() if path.is_file()]
    assert all(len(builds(counter)) == 1 for counter in counters)
    return {counter.name for counter in counters}


def lock(supply: Supply) -> Lock:
    """Lock the release for the running interpreter."""
    return supply.lock_resolver().lock(("demo==1.0",), supply.here())


def chosen(supply: Supply) -> dict[str, str]:
    """Return what a lock selects, which is wheels."""
    files = {item.name: item.file for item in selected(lock(supply).text, supply.here())}
    assert {file.kind for file in files.values()} == {"wheel"}
    return {name: file.version for name, file in files.items()}


def failure(supply: Supply) -> Failure:
    """Lock in vain and return why."""
    with pytest.raises(Failure) as caught:
        lock(supply)
    return caught.value


# -- what is built ------------------------------------------------------------------------------------------------------


def test_dependency_without_a_wheel(supply: Supply) -> None:
    """A dependency that offers no wheel at all is built."""
    source(supply, "dep", "1.0")
    locked = lock(supply)
    assert (locked.fresh, locked.work.built) == (True, 1)
    assert chosen(supply) == {"demo": "1.0", "dep": "1.0"}
    assert made(supply) == {"dep-1.0"}


def test_second_time(supply: Supply) -> None:
    """Who asks again gets the same lock; nothing is built or asked for."""
    source(supply, "dep", "1.0")
    first, asked = lock(supply), list(supply.index.requests)
    second = lock(supply)
    assert (second.text, second.fresh, second.work.built) == (first.text, False, 0)
    assert asked == supply.index.requests
    assert made(supply) == {"dep-1.0"}


def test_newest_without_a_wheel(supply: Supply) -> None:
    """The newest release that fits is taken though only older ones offer wheels, as an installer does."""
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    source(supply, "dep", "2.0")
    assert chosen(supply) == {"demo": "1.0", "dep": "2.0"}


def test_newest_that_does_not_fit(supply: Supply) -> None:
    """A release that nobody asks for is not built, whatever it offers."""
    need(supply, "dep<2")
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    source(supply, "dep", "0.9")
    source(supply, "dep", "2.0")
    assert chosen(supply) == {"demo": "1.0", "dep": "1.0"}
    assert made(supply) == set()


def test_two_rounds(supply: Supply) -> None:
    """What a built dependency needs may have to be built as well; a second resolution does not begin anew."""
    source(supply, "dep", "1.0", "deeper")
    source(supply, "deeper", "3.0")
    assert chosen(supply) == {"demo": "1.0", "dep": "1.0", "deeper": "3.0"}
    assert made(supply) == {"dep-1.0", "deeper-3.0"}


def test_release_whose_dependency_offers_no_wheel(supply: Supply) -> None:
    """A release is not given up for an older one because something that it needs must be built."""
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    wheel(supply.files, "dep", "2.0", {"dep.py": ""}, requires=["deeper"])
    source(supply, "deeper", "1.0")
    assert chosen(supply) == {"demo": "1.0", "dep": "2.0", "deeper": "1.0"}


def test_built_release_that_asks_too_much(supply: Supply) -> None:
    """A release whose requirements cannot be met once they are known is left for an older one."""
    source(supply, "dep", "2.0", "absent")
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    assert chosen(supply) == {"demo": "1.0", "dep": "1.0"}


def test_second_best_is_not_built(supply: Supply) -> None:
    """What uv looks at only because it could not build its first choice is not built."""
    source(supply, "dep", "2.0")
    wheel(supply.files, "dep", "1.0", {"dep.py": ""}, requires=["other"])
    source(supply, "other", "1.0", fails="nobody should know")
    assert chosen(supply) == {"demo": "1.0", "dep": "2.0"}
    assert made(supply) == {"dep-2.0"}


@pytest.mark.parametrize("bounds", [">=3.8,<3.9", ">=99", "==99.*", "~=99.0", ">99"])
def test_bounds_of_python(supply: Supply, bounds: str) -> None:
    """Of a dependency's Requires-Python the lower bounds count, as for uv."""
    path = simple_sdist(supply.files, "dep", "2.0", {"dep.py": ""})
    supply.index.add(path, requires_python=bounds)
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    assert chosen(supply)["dep"] == ("1.0" if "99" in bounds else "2.0")


def test_yanked_release(supply: Supply) -> None:
    """A yanked release is not built."""
    supply.index.add(simple_sdist(supply.files, "dep", "2.0", {"dep.py": ""}), yanked=True)
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    assert chosen(supply)["dep"] == "1.0"


def test_date(supply: Supply) -> None:
    """A release that did not exist yet is not built."""
    for version, date in (("1.0", "2020-01-01T00:00:00Z"), ("2.0", "2024-01-01T00:00:00Z")):
        supply.index.add(simple_sdist(supply.files, "dep", version, {"dep.py": ""}), upload_time=date)
    supply.index.add(supply.files / "demo-1.0-py3-none-any.whl", upload_time="2020-01-01T00:00:00Z")
    locked = supply.lock_resolver(date="2022-01-01T00:00:00Z").lock(("demo==1.0",), supply.here())
    assert {item.name: item.file.version for item in selected(locked.text, supply.here())}["dep"] == "1.0"


def test_another_interpreter(supply: Supply) -> None:
    """What one interpreter built is not offered to another: each builds for itself."""
    source(supply, "dep", "1.0")
    lock_resolver = supply.lock_resolver()
    works = [lock_resolver.lock(("demo==1.0",), one).work.built for one in (supply.here(), supply.another())]
    assert works == [1, 1]


def test_what_was_built_before(supply: Supply) -> None:
    """What one resolution had built is offered to the next, which then is made at once."""
    source(supply, "dep", "1.0")
    wheel(supply.files, "demo", "2.0", GOOD, requires=["dep"])
    lock_resolver = supply.lock_resolver()
    works = [lock_resolver.lock((f"demo=={version}",), supply.here()).work.built for version in ("1.0", "2.0")]
    assert works == [1, 0]


def test_builds_that_were_cleared_away(supply: Supply) -> None:
    """A lock that names a wheel that is not there any more is made anew."""
    source(supply, "dep", "1.0")
    (built,) = (item for item in selected(lock(supply).text, supply.here()) if item.name == "dep")
    Path(built.file.url.removeprefix("file://")).unlink()
    for place in supply.cache.builds.glob("*/build.json"):
        place.unlink()
        place.parent.rmdir()
    assert lock(supply).work.built == 1


# -- what fails -----------------------------------------------------------------------------------------------------------


def test_dependency_whose_build_fails(supply: Supply) -> None:
    """A dependency that must be built and cannot be is named with the reason, and that is kept."""
    source(supply, "dep", "1.0", fails="no compiler")
    wheel(supply.files, "dep", "0.9", {"dep.py": ""})
    first, second = failure(supply), failure(supply)
    assert (first.verdict.phase, first.verdict.reason) == (Phase.BUILD, Reason.DEPENDENCY_BUILD_FAILED)
    assert first.verdict.detail == "dep 1.0: RuntimeError: no compiler"
    assert "no compiler" in first.output
    assert (first.fresh, second.fresh, second.verdict) == (True, False, first.verdict)
    assert made(supply) == {"dep-1.0"}


def test_failure_in_another_sandbox(supply: Supply) -> None:
    """A build that failed in one sandbox is tried again in another."""
    source(supply, "dep", "1.0", fails="no compiler")
    with pytest.raises(Failure):
        supply.lock_resolver(level=1).lock(("demo==1.0",), supply.here())
    with pytest.raises(Failure) as caught:
        supply.lock_resolver(level=0).lock(("demo==1.0",), supply.here())
    assert caught.value.fresh
    assert len(builds(supply.root / "dep-1.0")) == 2


def test_dependency_whose_build_requirement_is_missing(supply: Supply) -> None:
    """A dependency whose build requirements do not exist cannot be built, and that is its own fault."""
    pyproject = '[build-system]\nrequires = ["missing"]\nbuild-backend = "missing"\n'
    sdist(supply.files, "dep", "1.0", {}, pyproject=pyproject)
    verdict = failure(supply).verdict
    assert verdict.reason is Reason.DEPENDENCY_BUILD_FAILED
    assert "missing was not found" in verdict.detail


@pytest.mark.parametrize("name", ["dep", "missing"])
def test_index_in_trouble(supply: Supply, name: str) -> None:
    """An index that refuses to answer is the network's fault, for a dependency as for what builds it; that is not kept."""
    pyproject = '[build-system]\nrequires = ["missing"]\nbuild-backend = "missing"\n'
    sdist(supply.files, "dep", "1.0", {}, pyproject=pyproject)
    supply.index.inject(supply.index.page_path(name), Fault(status=500))
    with pytest.raises(NetworkProblem):
        lock(supply)
    supply.index.inject(supply.index.page_path(name), Fault())
    assert failure(supply).verdict.reason is Reason.DEPENDENCY_BUILD_FAILED


def test_dependency_that_nobody_has(supply: Supply) -> None:
    """A project that is not there is no solution, and nothing to build."""
    assert failure(supply).verdict.reason is Reason.NO_SOLUTION


def test_dependency_that_is_another(supply: Supply) -> None:
    """A dependency that builds another project's wheel cannot be built, and is not tried again."""
    simple_sdist(supply.files, "dep", "1.0", {}, built_name="other")
    assert "dep-1.0.tar.gz builds other-1.0" in failure(supply).verdict.detail
