"""Wheels built from sdists: how often, for whom, and what is kept of those that fail."""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.errors import HashMismatch, NetworkProblem
from pytest_spip.model import DistFile, Interpreter, Outcome, Phase, Reason
from pytest_spip.provision.builds import Builder
from pytest_spip.provision.resolver import BuiltWheel
from pytest_spip.provision.uv_output import Failure
from tests.support import backend
from tests.support.distributions import Content, builds, metadata_text, sdist, simple_sdist, wheel
from tests.support.index import Fault
from tests.support.supply import Supply

GOOD = {"demo.py": ""}
WEEK = 7 * 86400.0


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """Return the file that counts builds."""
    return tmp_path / "builds"


def listed(supply: Supply, path: Path, **more: str) -> DistFile:
    """List a file and return what the plan would know of it."""
    told = supply.index.add(path, **more)
    url = supply.index.url.replace("/simple/", told.url)
    return DistFile(path.name, url, "sdist", told.version, told.sha256)


def built(
    supply: Supply, file: DistFile, interpreter: Interpreter | None = None, builder: Builder | None = None
) -> BuiltWheel:
    """Build with the running interpreter, if no other is named."""
    return (builder or supply.builder()).wheel("demo", file, interpreter or supply.here())


def failure(supply: Supply, file: DistFile, builder: Builder | None = None) -> Failure:
    """Build in vain and return why."""
    with pytest.raises(Failure) as caught:
        built(supply, file, builder=builder)
    return caught.value


# -- how often ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("universal", [True, False])
def test_once_per_interpreter(supply: Supply, counter: Path, universal: bool) -> None:
    """Each interpreter builds an sdist for itself, once; a universal wheel of another one is no proof that it could."""
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD, universal=universal, counter=counter))
    for interpreter in (supply.here(), supply.another()):
        first, second = (built(supply, file, interpreter) for _ in range(2))
        assert (first.fresh, second.fresh) == (True, False)
        assert (first.path, first.sha256, first.builder) == (second.path, second.sha256, interpreter.id)
    assert sorted(builds(counter)) == sorted([supply.here().python, supply.another().python])


def test_racing_threads(supply: Supply, counter: Path) -> None:
    """However many want a wheel at the same time, it is built once."""
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD, counter=counter))
    builder = supply.builder()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(built, supply, file, supply.here(), builder) for _ in range(4)]
    assert sorted(future.result().fresh for future in futures) == [False, False, False, True]
    assert len(builds(counter)) == 1
    assert len([request for request in supply.index.requests if request[1].startswith("/files/")]) == 1


DECLARED = """\
[build-system]
requires = ["{name}"]
build-backend = "{backend}"
[project]
name = "demo"
version = "1.0"
"""


def serve_backend(supply: Supply, name: str, module: str, version: str = "99.0") -> None:
    """List a build backend under a known name: ours, which does what ``backend.json`` says, and then runs ``hook.py``."""
    code = Path(backend.__file__).read_text().replace("Path(__file__).absolute().parent", "Path.cwd()")
    code += f"\nVERSION = {version!r}"
    code += "\nif Path('hook.py').exists():\n    exec(Path('hook.py').read_text())\n"
    package = module.partition(".")[0]
    wheel(supply.files, name, version, {f"{package}/__init__.py": "", module.replace(".", "/") + ".py": code})


def declared(supply: Supply, counter: Path, hook: str = "", tag: str = "py3-none-any") -> DistFile:
    """List a declarative sdist, whose backend comes from the index."""
    serve_backend(supply, "flit-core", "flit_core.buildapi")
    return listed(
        supply, described(supply, counter, DECLARED.format(name="flit-core", backend="flit_core.buildapi"), hook, tag)
    )


def described(
    supply: Supply, counter: Path, pyproject: str, hook: str = "", tag: str = "py3-none-any", name: str = "demo"
) -> Path:
    """Write an sdist that our backend understands."""
    options = {"stem": f"{name}-1.0", "metadata": metadata_text(name, "1.0", (), ""), "files": [], "fails": ""}
    options |= {"tag": tag, "counter": str(counter)}
    files: dict[str, Content] = {"backend.json": json.dumps(options), "hook.py": hook}
    return sdist(supply.root, name, "1.0", files, pyproject=pyproject)


def test_declarative_project(supply: Supply, counter: Path) -> None:
    """Each interpreter builds also what only declares, and whose wheel is universal: the backend decides, and it may differ."""
    file = declared(supply, counter)
    first, second = (built(supply, file, interpreter) for interpreter in (supply.here(), supply.another()))
    assert (first.builder, second.builder, second.fresh) == (supply.here().id, supply.another().id, True)
    assert sorted(builds(counter)) == sorted([supply.here().python, supply.another().python])


def test_failing_on_one(supply: Supply, counter: Path) -> None:
    """An sdist that one interpreter fails to build is not built twice by it, and others try for themselves, in any order."""
    short = tuple(supply.here().minor)
    file = declared(supply, counter, hook=f"if sys.version_info[:2] == {short}: raise RuntimeError('not here')")
    assert built(supply, file, supply.another()).builder == supply.another().id
    assert "not here" in failure(supply, file).output
    assert "not here" in failure(supply, file).output
    assert builds(counter) == [supply.another().python]


# -- kept environments --------------------------------------------------------------------------------------------------

SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=1"]\nbuild-backend = "setuptools.build_meta"\n'


@pytest.mark.parametrize(("version", "environments"), [("80.0", 1), ("65.5.0", 2)])
def test_kept_environment(supply: Supply, counter: Path, version: str, environments: int) -> None:
    """Requirements are installed once for all builds of an interpreter, beside those of a setuptools that asks for more.

    A build that the sandbox would not keep from changing them gets a copy.
    """
    serve_backend(supply, "setuptools", "setuptools.build_meta", version)
    wheel(supply.files, "wheel", "1.0", {"wheel.py": ""})
    prefixes = supply.root / "prefixes"
    hook = f"open({str(prefixes)!r}, 'a').write(sys.prefix + chr(10))\n"
    hook += "def get_requires_for_build_wheel(settings=None): return ['wheel']\n"
    for name in ("demo", "other"):
        file = listed(supply, described(supply, counter, SETUPTOOLS, hook, name=name))
        supply.builder().wheel(name, file, supply.here())
    kept = list((supply.cache.builds / "environments").iterdir())
    assert not {*prefixes.read_text().split()} & {*map(str, kept)}
    assert len(kept) == environments
    assert all(list(prefix.glob("lib/*/site-packages/setuptools/__pycache__/*.pyc")) for prefix in kept)


# -- failures -----------------------------------------------------------------------------------------------------------


def test_failure_is_kept(supply: Supply, counter: Path) -> None:
    """A build that failed is not tried again; its verdict and its log are kept."""
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD, fails="no compiler", counter=counter))
    first, second = (failure(supply, file) for _ in range(2))
    assert first.verdict == second.verdict
    assert (first.verdict.outcome, first.verdict.reason) == (Outcome.FAILED, Reason.BUILD_FAILED)
    assert first.verdict.detail == "RuntimeError: no compiler"
    assert first.output == second.output
    (log,) = supply.cache.builds.glob("*/build.log")
    assert "RuntimeError: no compiler" in log.read_text()
    assert len(builds(counter)) == 1


@pytest.mark.parametrize("good", [False, True])
def test_newer_backend(supply: Supply, counter: Path, good: bool) -> None:
    """What was built is built again when the build requirements resolve to others, whether it had come to a wheel or not."""
    file = declared(supply, counter, hook="" if good else "if VERSION == '99.0': raise RuntimeError('old')")
    if good:
        assert built(supply, file).fresh
    else:
        assert failure(supply, file).verdict.detail == "RuntimeError: old"
    serve_backend(supply, "flit-core", "flit_core.buildapi", "100.0")
    if good:
        assert not built(supply, file).fresh
    else:
        assert not failure(supply, file).fresh
    for kept in (supply.cache.builds / "requirements").iterdir():
        os.utime(kept, (time.time() - 86400 - 60,) * 2)
    again = supply.builder()
    assert [built(supply, file, builder=again).fresh for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("date", "times"), [("", 2), ("2030-01-01T00:00:00Z", 1)])
def test_failure_is_forgotten(supply: Supply, counter: Path, date: str, times: int) -> None:
    """After a week a failure is tried again, for a newer backend may fix it, unless a date pins the backends."""
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD, fails="no compiler", counter=counter))
    failure(supply, file, supply.builder(date=date))
    (log,) = supply.cache.builds.glob("*/build.log")
    os.utime(log, (time.time() - WEEK - 60,) * 2)
    failure(supply, file, supply.builder(date=date))
    assert times == len(builds(counter))


def test_failure_on_other_indexes(supply: Supply, counter: Path, tmp_path: Path) -> None:
    """A failure counts for the indexes that the build requirements were looked for on, whatever the credentials."""
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD, fails="no compiler", counter=counter))
    for login in ("//one:a@", "//two:b@"):
        failure(supply, file, supply.builder(supply.indexes(supply.index.url.replace("//", login))))
    assert len(builds(counter)) == 1
    failure(supply, file, supply.builder(supply.indexes(find_links=[tmp_path / "files"])))
    assert len(builds(counter)) == 2


def test_network_failure_is_not_kept(supply: Supply, counter: Path) -> None:
    """A build that failed for want of the network is tried again."""
    file = declared(supply, counter)
    page = supply.index.page_path("flit-core")
    supply.index.inject(page, Fault(status=500))
    with pytest.raises(NetworkProblem):
        built(supply, file)
    supply.index.inject(page, Fault())
    assert built(supply, file).fresh
    assert builds(counter) == [supply.here().python]


@pytest.mark.parametrize(
    ("how", "detail"),
    [({"built_name": "other"}, r"builds other-1\.0"), ({"built_version": "2.0"}, r"builds demo-2\.0")],
)
def test_another_project(supply: Supply, counter: Path, how: Mapping[str, str], detail: str) -> None:
    """An sdist that builds a wheel of another name or version is bad, and is not built again."""
    path = simple_sdist(supply.root, "demo", "1.0", GOOD, counter=counter, **how)  # type: ignore[arg-type]  # passed on
    file = listed(supply, path)
    for _ in range(2):
        verdict = failure(supply, file).verdict
        assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.FAILED, Phase.BUILD, Reason.BAD_METADATA)
        assert re.search(detail, verdict.detail)
    assert len(builds(counter)) == 1


def test_wheel_that_does_not_fit(supply: Supply, counter: Path) -> None:
    """An sdist that builds a wheel for others than its builder is bad."""
    verdict = failure(supply, declared(supply, counter, tag="cp27-cp27m-win32")).verdict
    assert verdict.reason is Reason.BAD_METADATA
    told = "demo-1.0.tar.gz builds demo-1.0-cp27-cp27m-win32.whl, which does not fit"
    assert verdict.detail == f"{told} {supply.here().label}"


def test_equal_versions(supply: Supply) -> None:
    """Another spelling of the same version is the same version."""
    path = simple_sdist(supply.root, "demo", "1.0", GOOD, built_version="1.0.0")
    assert built(supply, listed(supply, path)).path.name == "demo-1.0.0-py3-none-any.whl"


# -- the file -----------------------------------------------------------------------------------------------------------


def test_another_file(supply: Supply) -> None:
    """A file that is not the promised one is not opened."""
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD), sha256="0" * 64)
    with pytest.raises(HashMismatch):
        built(supply, file)
    assert not list(supply.cache.builds.rglob("*.tar.gz"))


def test_file_without_a_hash(supply: Supply) -> None:
    """A file that nobody gave a hash is taken as it comes, once in a run, and known by what it holds."""
    builder = supply.builder()
    file = listed(supply, simple_sdist(supply.root, "demo", "1.0", GOOD), sha256="")
    first, again = (built(supply, file, builder=builder) for _ in range(2))
    assert (first.fresh, again.fresh) == (True, False)
    assert [path for _, path in supply.index.requests] == [supply.index.file_path(file.filename)]
    listed(supply, simple_sdist(supply.root, "demo", "1.0", {"demo.py": "changed = 1"}), sha256="")
    assert built(supply, file).sha256 != first.sha256


def test_local_file(supply: Supply) -> None:
    """A file of this machine needs no hash, and when it changes it is another."""
    seen = []
    for text in ("one", "two"):
        path = simple_sdist(supply.root, "demo", "1.0", {"demo.py": text})
        with zipfile.ZipFile(built(supply, DistFile(path.name, path.as_uri(), "sdist", "1.0")).path) as archive:
            seen.append(archive.read("demo.py"))
    assert seen == [b"one", b"two"]


def test_local_file_that_is_gone(supply: Supply) -> None:
    """A file of this machine that is gone is like a file of another that cannot be fetched."""
    with pytest.raises(NetworkProblem, match="No such file"):
        built(supply, DistFile("demo-1.0.tar.gz", (supply.root / "gone.tar.gz").as_uri(), "sdist", "1.0"))
