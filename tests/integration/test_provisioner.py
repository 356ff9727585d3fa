"""Combinations become environments, or verdicts; each once, and a second time without any work."""

from __future__ import annotations

import dataclasses
import errno
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.common.trees import remove_tree
from pytest_spip.model import BuildPolicy, Combo, Outcome, Phase, Provisioned, Reason, Verdict
from pytest_spip.provision.locks import Lock, LockResolver
from pytest_spip.provision.wanted import Wanted
from tests.support.distributions import PYPROJECT, builds, metadata_text, scripted, sdist, simple_sdist, wheel
from tests.support.index import Fault, LocalIndex
from tests.support.machine import eventually
from tests.support.provisions import End, judged, planned, provisioned, provisioner, the
from tests.support.rooms import alive
from tests.support.supply import Supply

GOOD = {"demo/__init__.py": ""}


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supply]:
    """Make a world whose index serves metadata apart from wheels, so that only we fetch these."""
    (tmp_path / "files").mkdir()
    with LocalIndex(tmp_path / "files", core_metadata=True) as index:
        made = Supply(tmp_path, index)
        for name, value in made.environ.items():
            monkeypatch.setenv(name, value)
        yield made


# -- environments -------------------------------------------------------------------------------------------------------


def test_environment(supply: Supply) -> None:
    """A release and its dependencies are resolved, fetched and filed, and the lock is kept with the run."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    wheel(supply.files, "dep", "2.0", {"dep.py": ""})
    done = the(provisioned(supply))
    assert done.environment is not None
    assert done.environment.locked == {"demo": "1.0", "dep": "2.0"}
    assert [(each.name, each.modules) for each in done.environment.wheels] == [("demo", ("demo",)), ("dep", ("dep",))]
    assert all(Path(each.root, "purelib").is_dir() for each in done.environment.wheels)
    assert done.work == {"resolved": 1, "downloaded": 2, "filed": 2}
    assert set(done.phases) == {"resolve", "fetch"}
    kept = supply.root / "kept" / f"demo-1.0-{supply.here().label}.toml"
    assert kept.read_text() == Path(done.environment.lock).read_text()


def test_second_run(supply: Supply, tmp_path: Path) -> None:
    """What was provisioned once is provisioned again without any work and without asking anybody."""
    counter = tmp_path / "builds"
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    wheel(supply.files, "demo", "2.0", GOOD, requires=["absent"])
    wheel(supply.files, "demo", "3.0", GOOD, metadata_version="3.1")
    simple_sdist(supply.files, "demo", "4.0", GOOD, counter=counter)
    simple_sdist(supply.files, "demo", "5.0", GOOD, fails="no compiler", counter=counter)
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""}, counter=counter)
    plan = planned(supply)
    first = provisioned(supply, plan)
    asked, built = list(supply.index.requests), builds(counter)
    second = provisioned(supply, plan)
    assert asked == supply.index.requests
    assert built == builds(counter)
    assert [dict(done.work) for done in second.values()] == [{}] * 5
    for name, done in first.items():
        assert (done.environment, done.verdict) == (second[name].environment, second[name].verdict)


def locks_made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each requirement for which a lock is looked up or made."""
    asked: list[str] = []
    lock = LockResolver.lock

    def counting(lock_resolver: LockResolver, requirements: Sequence[str], *more: Any) -> Lock:
        asked.append(requirements[0])
        return lock(lock_resolver, requirements, *more)

    monkeypatch.setattr(LockResolver, "lock", counting)
    return asked


def test_remembered(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier runs provisioned comes in a list, without a look at its lock; what is new comes beside it."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    wheel(supply.files, "dep", "2.0", {"dep.py": ""})
    simple_sdist(supply.files, "demo", "2.0", GOOD)
    first = provisioned(supply)
    asked = locks_made(monkeypatch)
    wheel(supply.files, "demo", "3.0", GOOD)
    remove_tree(supply.cache.index)
    third = provisioned(supply, planned(supply))
    assert asked == ["demo==3.0"]
    assert {name: third[name].environment for name in first} == {name: done.environment for name, done in first.items()}
    assert all(not done.spans for name, done in third.items() if name in first)
    kept = supply.root / "kept" / f"demo-1.0-{supply.here().label}.toml"
    assert "demo-1.0-py3-none-any.whl" in kept.read_text()


def lose_lock(supply: Supply, made: End) -> None:
    """Clear the cache's locks."""
    remove_tree(supply.cache.locks)


def lose_wheels(supply: Supply, made: End) -> None:
    """Clear the wheel store."""
    remove_tree(supply.cache.wheels)


def lose_builds(supply: Supply, made: End) -> None:
    """Clear what was built for the resolution."""
    remove_tree(supply.cache.builds)


def damage(supply: Supply, made: End) -> None:
    """Cut what is remembered in half."""
    (path,) = supply.cache.environments.iterdir()
    path.write_text(path.read_text()[:40])


def grow(supply: Supply, made: End) -> None:
    """Add a file to the release."""
    remove_tree(supply.cache.index)
    wheel(supply.files, "demo", "1.0", GOOD, tag="py2-none-any")


@pytest.mark.parametrize("spoil", [lose_lock, lose_wheels, lose_builds, damage, grow])
def test_forgotten(supply: Supply, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Supply, End], None]) -> None:
    """What is no longer as it was is provisioned anew."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""})
    before = the(provisioned(supply))
    asked = locks_made(monkeypatch)
    spoil(supply, before)
    after = the(provisioned(supply, planned(supply)))
    assert set(asked) == {"demo==1.0"}
    assert before.environment is not None
    assert after.environment is not None
    assert after.environment.locked == before.environment.locked


def test_remembered_for_a_day(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no date pins the index, what is remembered ages with the lock."""
    wheel(supply.files, "demo", "1.0", GOOD)
    first = the(provisioned(supply))
    assert first.environment is not None
    asked = locks_made(monkeypatch)
    monkeypatch.setattr("pytest_spip.provision.provision_cache.UNDATED_KEPT", -10.0)
    provisioned(supply)
    assert asked == ["demo==1.0"]


def test_fingerprint(supply: Supply) -> None:
    """Equal environments have equal fingerprints; another wheel makes another one."""
    for version, text in (("1.0", "x = 1"), ("2.0", "x = 2")):
        wheel(supply.files, "demo", version, {"demo.py": text})
    one, other = (done.environment for done in provisioned(supply).values())
    again = [done.environment for done in provisioned(supply).values()]
    assert one is not None
    assert other is not None
    assert one.fingerprint != other.fingerprint
    assert {one.fingerprint, other.fingerprint} == {each.fingerprint for each in again if each}


def test_extras(supply: Supply) -> None:
    """Extras bring their requirements."""
    metadata = metadata_text("demo", "1.0", ['dep; extra == "more"'], "") + "Provides-Extra: more\n"
    wheel(supply.files, "demo", "1.0", GOOD, extra_dist_info={"METADATA": metadata})
    wheel(supply.files, "dep", "2.0", {"dep.py": ""})
    done = the(provisioned(supply, planned(supply, "demo[more]")))
    assert done.environment is not None
    assert set(done.environment.locked) == {"demo", "dep"}


def test_sdist(supply: Supply, tmp_path: Path) -> None:
    """A release that has only an sdist is built once, before it is resolved, and its wheel is filed."""
    counter = tmp_path / "builds"
    simple_sdist(supply.files, "demo", "1.0", GOOD, requires=["dep"], counter=counter)
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""}, counter=counter)
    done = the(provisioned(supply))
    assert done.environment is not None
    assert done.environment.locked == {"demo": "1.0", "dep": "1.0"}
    assert done.work == {"built": 2, "resolved": 1, "filed": 2}
    assert set(done.phases) == {"build", "resolve", "install"}


def test_spans_follow_one_another(supply: Supply) -> None:
    """What is built for a resolution is told apart from it; spans begin where the one before ended, within the time it took."""
    simple_sdist(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""})
    before = time.time()
    spans = the(provisioned(supply)).spans
    phases = ["build", "install", "resolve", "build", "resolve", "install", "install"]
    assert [span.phase for span in spans] == phases
    assert before <= spans[0].at
    assert spans[-1].end <= time.time()
    assert all(one.end <= other.at + 1e-6 for one, other in pairwise(spans))  # floats of today are that coarse
    assert all(span.seconds > 0 for span in spans)


def test_release_of_find_links(supply: Supply, tmp_path: Path) -> None:
    """A release that only a directory offers is provisioned from there, without hashes from anybody."""
    links = tmp_path / "links"
    links.mkdir()
    wheel(links, "demo", "1.0", GOOD)
    simple_sdist(links, "demo", "2.0", GOOD)
    made = provisioned(supply, indexes=supply.indexes(find_links=[links]))
    assert [done.environment is not None for done in made.values()] == [True, True]


def test_several_interpreters(supply: Supply) -> None:
    """A universal wheel is filed once for all interpreters, each of which has a lock of its own."""
    wheel(supply.files, "demo", "1.0", GOOD)
    plan = planned(supply, interpreters=[supply.here(), supply.another()])
    made = list(provisioned(supply, plan).values())
    assert sum(done.work.get("filed", 0) for done in made) == 1
    assert sum(done.work.get("resolved", 0) for done in made) == len(plan.combos)
    assert len({done.environment.fingerprint for done in made if done.environment}) == len(plan.combos)


# -- verdicts -----------------------------------------------------------------------------------------------------------


def test_prejudged(supply: Supply) -> None:
    """What the plan has decided is passed on, and nobody works on it."""
    wheel(supply.files, "demo", "1.0", GOOD, requires_python="<3")
    plan = planned(supply)
    asked = list(supply.index.requests)
    done = the(provisioned(supply, plan))
    assert judged(done) == (Outcome.SKIPPED, Phase.PLAN, Reason.REQUIRES_PYTHON)
    assert (done.work, done.phases) == ({}, {})
    assert asked == supply.index.requests


def test_project_without_listing(supply: Supply) -> None:
    """A project that could not be planned ends with the plan's verdict, beside others that go on."""
    wheel(supply.files, "demo", "1.0", GOOD)
    lost = Combo(1, "lost", "", "", "index", (), Verdict(Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR, "down"))
    plan = planned(supply)
    made = provisioned(supply, dataclasses.replace(plan, combos=(*plan.combos, lost)))
    assert judged(made["lost[unlisted-index]"]) == (Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR)
    assert made[plan.combos[0].id].environment is not None


def static(supply: Supply, body: str) -> None:
    """List an sdist of ``dep`` whose metadata uv need not build, but whose build does something."""
    code = f"def build_wheel(directory, settings=None, metadata=None):\n    {body}\n"
    told = metadata_text("dep", "1.0", (), "").replace("2.1", "2.2")
    sdist(supply.files, "dep", "1.0", {"backend.py": code, "PKG-INFO": told}, pyproject=PYPROJECT)


def break_own_build(supply: Supply) -> None:
    simple_sdist(supply.files, "demo", "1.0", GOOD, fails="no compiler")


def break_build_of_dependency(supply: Supply) -> None:
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    static(supply, "raise RuntimeError('no compiler')")


def break_metadata_of_dependency(supply: Supply) -> None:
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""}, fails="no compiler")


def break_requirements(supply: Supply) -> None:
    wheel(supply.files, "demo", "1.0", GOOD, requires=["absent"])


def break_wheel(supply: Supply) -> None:
    wheel(supply.files, "demo", "1.0", {**GOOD, "../evil.py": ""})


def break_download(supply: Supply) -> None:
    supply.index.inject(supply.index.file_path(wheel(supply.files, "demo", "1.0", GOOD)), Fault(status=500))


def break_hash(supply: Supply) -> None:
    supply.index.add(wheel(supply.files, "demo", "1.0", GOOD), sha256="0" * 64)


def break_hash_of_sdist(supply: Supply) -> None:
    supply.index.add(simple_sdist(supply.files, "demo", "1.0", GOOD), sha256="0" * 64)


def break_index(supply: Supply) -> None:
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    supply.index.inject(supply.index.page_path("dep"), Fault(status=500))


def lose_locks(supply: Supply) -> None:
    wheel(supply.files, "demo", "1.0", GOOD)
    (supply.root / "kept").symlink_to("/proc")


FAILED, SKIPPED, ERROR = Outcome.FAILED, Outcome.SKIPPED, Outcome.ERROR


@pytest.mark.parametrize(
    ("break_it", "expected", "detail"),
    [
        (break_own_build, (FAILED, Phase.BUILD, Reason.BUILD_FAILED), "RuntimeError: no compiler"),
        (
            break_build_of_dependency,
            (FAILED, Phase.BUILD, Reason.DEPENDENCY_BUILD_FAILED),
            "dep 1.0: RuntimeError: no compiler",
        ),
        (
            break_metadata_of_dependency,
            (FAILED, Phase.BUILD, Reason.DEPENDENCY_BUILD_FAILED),
            "dep 1.0: RuntimeError: no compiler",
        ),
        (break_requirements, (SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION), "absent was not found"),
        (
            break_wheel,
            (FAILED, Phase.INSTALL, Reason.BAD_METADATA),
            "demo-1.0-py3-none-any.whl: ../evil.py lies outside of it",
        ),
        (break_download, (ERROR, Phase.FETCH, Reason.NETWORK), "the server answered 500"),
        (break_hash, (ERROR, Phase.FETCH, Reason.INDEX_ERROR), "promised was 0000"),
        (break_hash_of_sdist, (ERROR, Phase.BUILD, Reason.INDEX_ERROR), "promised was 0000"),
        (break_index, (ERROR, Phase.RESOLVE, Reason.NETWORK), "500 Internal Server Error"),
        (lose_locks, (ERROR, Phase.RESOLVE, Reason.INTERNAL), "No such file or directory"),
    ],
)
def test_verdicts(
    supply: Supply, break_it: Callable[[Supply], None], expected: tuple[Outcome, Phase, Reason], detail: str
) -> None:
    """Whatever goes wrong becomes one verdict that says whose fault it is, how far it came, and why."""
    break_it(supply)
    done = the(provisioned(supply))
    assert expected == judged(done)
    assert done.verdict is not None
    assert detail in done.verdict.detail
    assert bool(done.output) == (done.verdict.outcome is not ERROR and done.verdict.reason is not Reason.BAD_METADATA)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_release_without_hashes(supply: Supply, kind: str) -> None:
    """A release whose files are listed without hashes is taken as uv takes it, with a warning, also in a second run."""
    path = (wheel if kind == "wheel" else simple_sdist)(supply.files, "demo", "1.0", GOOD)
    supply.index.add(path, sha256="")
    for _ in range(2):
        done = the(provisioned(supply))
        assert done.environment is not None, done.verdict
        (warning,) = done.environment.warnings
        assert "lists no sha256" in warning
        assert path.name in warning


COPY = "import shutil\nreturn os.path.basename(shutil.copy('demo-1.0-py3-none-any.whl', directory))"


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ({"extra_dist_info": {"RECORD": "demo/__init__.py,sha256=x,10\n"}}, "didn't match RECORD"),
        ({"extra_dist_info": {"RECORD": "one,two\n"}}, "Unable to retrieve `RECORD`"),
        ({"data": {"purelib/../../evil.py": ""}}, "evil.py lies outside of it"),
        ({"metadata_name": "other"}, "its metadata name other 1.0"),
        ({"metadata_version": "2.0"}, "its metadata name demo 2.0"),
    ],
)
def test_built_wheel_that_is_bad(supply: Supply, how: dict[str, Any], detail: str) -> None:
    """A wheel that was built here is checked like one of the index, and nothing of a bad one is written."""
    (supply.root / "made").mkdir()
    made = wheel(supply.root / "made", "demo", "1.0", GOOD, **how)
    scripted(supply.files, COPY, files={made.name: made.read_bytes()})
    done = the(provisioned(supply))
    assert judged(done) == (FAILED, Phase.BUILD, Reason.BAD_METADATA)
    assert done.verdict is not None
    assert detail in done.verdict.detail
    assert not list(supply.root.rglob("evil.py"))


def test_sdist_that_leaves_its_directory(supply: Supply) -> None:
    """An sdist with a member that would lie outside is bad, and nothing of it lies there."""
    sdist(supply.files, "demo", "1.0", {"../../../../evil.py": ""}, pyproject=PYPROJECT)
    done = the(provisioned(supply))
    assert judged(done) == (FAILED, Phase.BUILD, Reason.BAD_METADATA)
    assert not list(supply.root.rglob("evil.py"))


def test_offline(supply: Supply) -> None:
    """Offline, a wheel that is not in the store is not fetched."""
    wheel(supply.files, "demo", "1.0", GOOD)
    plan = planned(supply)
    supply.lock_resolver().lock(("demo==1.0",), supply.here())
    asked = list(supply.index.requests)
    offline = supply.indexes(offline=True)
    done = the(provisioned(supply, plan, offline, offline=True))
    assert judged(done) == (ERROR, Phase.FETCH, Reason.NETWORK)
    assert asked == supply.index.requests


def test_trouble_does_not_spread(supply: Supply) -> None:
    """One release in trouble leaves the others alone."""
    wheel(supply.files, "demo", "1.0", GOOD)
    supply.index.inject(supply.index.file_path(wheel(supply.files, "demo", "2.0", GOOD)), Fault(status=500))
    wheel(supply.files, "demo", "3.0", GOOD)
    assert [done.environment is not None for _, done in sorted(provisioned(supply).items())] == [True, False, True]


# -- what only metadata tell --------------------------------------------------------------------------------------------


def test_python_in_metadata(supply: Supply) -> None:
    """A Requires-Python that no index tells counts by both bounds, for a wheel and an sdist, built or not; so pip does it."""
    refused = "<3.10", ">=3.99", ">=3.8,!=3.*", "<3.10"
    for number, demanded in enumerate(refused[:3]):
        hidden(supply, wheel(supply.files, "demo", f"1.{number}", GOOD, requires=["absent"], requires_python=demanded))
        described = metadata_text("demo", f"2.{number}", (), demanded)
        hidden(supply, described_sdist(supply, f"2.{number}", described))
    hidden(supply, simple_sdist(supply.files, "demo", "3.0", GOOD, fails="no compiler", requires_python="<3.10"))
    hidden(supply, wheel(supply.files, "demo", "4.0", GOOD, requires_python=">=3.8"))
    hidden(supply, wheel(supply.files, "demo", "5.0", GOOD, requires_python="<3.10"))
    made = {name.partition("[")[2].partition("-")[0]: done for name, done in provisioned(supply).items()}
    assert made.pop("4.0").environment is not None
    for version, done in made.items():
        assert judged(done) == (SKIPPED, Phase.RESOLVE, Reason.REQUIRES_PYTHON), version
        assert done.verdict is not None
        assert done.verdict.detail.startswith("Requires-Python ")
    again = provisioned(supply)
    assert [done.verdict for done in again.values() if done.verdict] == [done.verdict for done in made.values()]


def hidden(supply: Supply, path: Path) -> None:
    """List a file as an index does that tells nothing of Requires-Python."""
    supply.index.add(path, requires_python="")


def described_sdist(supply: Supply, version: str, metadata: str) -> Path:
    """List an sdist that builds a wheel with these metadata."""
    (supply.root / "made").mkdir(exist_ok=True)
    made = wheel(supply.root / "made", "demo", version, GOOD, extra_dist_info={"METADATA": metadata})
    files = {made.name: made.read_bytes()}
    return scripted(supply.files, COPY.replace("1.0", version), version=version, files=files)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize(
    "url", ["http://user:secret@h.example/x-1.0.zip", "git+https://h.example/x", "file:///etc/x.whl"]
)
def test_requirement_by_url(supply: Supply, kind: str, url: str) -> None:
    """What requires a URL is refused for that, where the requirement applies; of a dependency too."""
    make = wheel if kind == "wheel" else simple_sdist
    make(supply.files, "demo", "1.0", GOOD, requires=[f"x @ {url}"])
    make(supply.files, "demo", "2.0", GOOD, requires=[f"x @ {url} ; python_version < '3'"])
    wheel(supply.files, "demo", "3.0", GOOD, requires=["demo-child"])
    make(supply.files, "demo-child", "1.0", {"child.py": ""}, requires=[f"x @ {url}"])
    first, second, third = provisioned(supply).values()
    assert second.environment is not None
    for done, who in ((first, "demo 1.0"), (third, "demo-child 1.0")):
        assert judged(done) == (SKIPPED, Phase.RESOLVE, Reason.URL_REQUIREMENT)
        assert done.verdict is not None
        assert done.verdict.detail.startswith(f"{who} requires x @ {url.partition(':')[0]}")
        assert "secret" not in done.verdict.detail


def test_local_versions(supply: Supply) -> None:
    """A release and its local versions are releases of their own, each with its own file, built or not."""
    for version in ("1.0", "1.0+cpu", "1.0+gpu.2"):
        wheel(supply.files, "demo", version, GOOD)
    simple_sdist(supply.files, "other", "2.0", {"other.py": ""})
    wheel(supply.files, "other", "2.0+cpu", {"other.py": ""})
    wheel(supply.files, "other", "3.0", {"other.py": ""})
    plan = planned(supply, "demo[x]", "other")
    pins = "demo[x]===1.0", "demo[x]==1.0+cpu", "demo[x]==1.0+gpu.2", "other===2.0", "other==2.0+cpu", "other==3.0"
    assert tuple(combo.requirement for combo in plan.combos) == pins
    for combo, done in zip(plan.combos, provisioned(supply, plan).values(), strict=True):
        assert done.environment is not None
        assert done.environment.locked == {combo.package: combo.version}


def test_absent_extras(supply: Supply) -> None:
    """An extra that its project does not have is warned of, for a wheel and an sdist, each time; one that is there is not."""
    metadata = metadata_text("demo", "1.0", (), "") + "Provides-Extra: More_Of.it\n"
    wheel(supply.files, "demo", "1.0", GOOD, extra_dist_info={"METADATA": metadata})
    simple_sdist(supply.files, "demo", "2.0", GOOD)
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    wanted = Wanted(extra_requirements=("dep[none]",))
    for _ in range(2):
        one, other = provisioned(supply, planned(supply, "demo[more-of-it,nope]"), wanted=wanted).values()
        assert one.environment is not None
        assert other.environment is not None
        dep = "dep does not provide the extra 'none'"
        assert one.environment.warnings == ("demo does not provide the extra 'nope'", dep)
        missing = [f"demo does not provide the extra '{name}'" for name in ("more-of-it", "nope")]
        assert other.environment.warnings == (*missing, dep)


# -- builds -------------------------------------------------------------------------------------------------------------


def test_builds_hold_nothing_up(supply: Supply) -> None:
    """While builds go on, of releases and of dependencies, everything that needs none gets ready; what is built is named."""
    gate = supply.root / "gate"
    wait = f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)\nraise RuntimeError('at last')"
    for number in range(20):
        wheel(supply.files, "other", f"{number}.0", {"other.py": ""}, requires=["slow"])
    scripted(supply.files, wait, name="slow")
    scripted(supply.files, wait)
    wheel(supply.files, "quick", "1.0", {"quick.py": ""})
    plan = planned(supply, "other", "demo", "quick")
    ready: list[Provisioned] = []
    pool = provisioner(supply, plan, ready.extend)
    pool.start(plan.combos)
    last = plan.combos[-1]
    assert last.package == "quick"
    assert eventually(lambda: [done.ordinal for done in ready] == [last.ordinal], 60)
    assert eventually(lambda: pool.builds.left == 19, 60)
    assert {text for text, _ in pool.builds.running} <= {
        f"{name} 1.0 {supply.here().label}" for name in ("slow", "demo")
    }
    gate.touch()
    assert eventually(lambda: len(ready) == len(plan.combos), 60)
    pool.stop()
    assert {judged(End.of(done))[2] for done in ready[1:]} == {Reason.BUILD_FAILED, Reason.DEPENDENCY_BUILD_FAILED}
    assert pool.builds == ((), 0)


def test_wheels_only(supply: Supply, tmp_path: Path) -> None:
    """Where nothing is built, dependencies are resolved out of wheels, and what cannot be had so has no wheel."""
    counter = tmp_path / "builds"
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    simple_sdist(supply.files, "dep", "2.0", {"dep.py": ""}, counter=counter)
    wheel(supply.files, "demo", "2.0", GOOD, requires=["dep>=2"])
    wheel(supply.files, "demo", "3.0", GOOD, requires=["absent"])
    simple_sdist(supply.files, "demo", "4.0", GOOD, counter=counter)
    assert [the_version(done) for done in provisioned(supply).values()] == ["2.0", "2.0", None, None]
    built = builds(counter)
    plan = planned(supply, wheels_only=True)
    first, second, third, fourth = provisioned(supply, plan, policy=BuildPolicy(never=True)).values()
    assert the_version(first) == "1.0"
    assert judged(second) == (SKIPPED, Phase.RESOLVE, Reason.NO_WHEEL)
    assert judged(third) == (SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION)
    assert judged(fourth) == (SKIPPED, Phase.PLAN, Reason.NO_WHEEL)
    assert second.verdict is not None
    label = supply.here().label
    assert second.verdict.detail == f"dep 2.0 has no wheel for {label}, and --spip-build=never builds none"
    assert built == builds(counter)


def the_version(done: End) -> str | None:
    """Return the version of ``dep`` that was taken, if any was."""
    return done.environment.locked.get("dep") if done.environment else None


# -- the end ------------------------------------------------------------------------------------------------------------


def test_unknown_release(supply: Supply) -> None:
    """A combination that is not of the plan ends with the exception as its verdict, and holds nobody up."""
    wheel(supply.files, "demo", "1.0", {"demo.py": ""})
    plan = planned(supply)
    strange = dataclasses.replace(plan.combos[0], ordinal=1, version="9.9")
    made = provisioned(supply, dataclasses.replace(plan, combos=(*plan.combos, strange)))
    assert made[plan.combos[0].id].environment
    assert judged(made[strange.id]) == (Outcome.ERROR, Phase.PLAN, Reason.INTERNAL)
    assert "KeyError: ('demo', '9.9')" in str(made[strange.id].verdict)


def test_unknown_interpreter(supply: Supply) -> None:
    """What goes wrong before a combination's turn ends all of them that are left, each with the exception as its verdict."""
    wheel(supply.files, "demo", "1.0", {"demo.py": ""})
    plan = planned(supply)
    strange = dataclasses.replace(plan.combos[0], ordinal=1, interpreter="nobody", label="py999")
    made = provisioned(supply, dataclasses.replace(plan, combos=(*plan.combos, strange)))
    assert judged(made[strange.id]) == (Outcome.ERROR, Phase.PLAN, Reason.INTERNAL)
    assert "provisioning: KeyError: 'nobody'" in str(made[strange.id].verdict)


def test_nobody_takes_it(supply: Supply) -> None:
    """Where what is ready cannot even be told, that is told, and the threads end."""
    wheel(supply.files, "demo", "1.0", {"demo.py": ""})
    faults: queue.Queue[str] = queue.Queue()

    def on_ready(done: Sequence[Provisioned]) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    plan = planned(supply)
    pool = provisioner(supply, plan, on_ready, on_fault=faults.put)
    pool.start(plan.combos)
    assert faults.get(timeout=60) == "provisioning: OSError: [Errno 28] the disk is full"
    pool.stop()


def test_stop(supply: Supply) -> None:
    """When a session ends, builds are killed, what has not begun is dropped, and nobody is told of either."""
    ready: list[Provisioned] = []
    fifo = supply.root / "fifo"
    os.mkfifo(fifo)
    body = (
        f"import os, signal; open({str(fifo)!r}, 'w').write(str(os.getpid())); [signal.pause() for _ in iter(int, 1)]"
    )
    for version in ("1.0", "2.0"):
        code = f"def build_wheel(directory, settings=None, metadata=None):\n    {body}\n"
        sdist(supply.files, "demo", version, {"backend.py": code}, pyproject=PYPROJECT)
    plan = planned(supply)
    pool = provisioner(supply, plan, ready.extend)
    pool.start(plan.combos)
    pid = int(fifo.read_text())
    pool.stop()
    assert ready == []
    assert eventually(lambda: not alive(pid))
    assert list((supply.cache.root / "staging").glob("*/*")) == []
