"""uv, the program: what it is told, what it sees, and how it ends."""

from __future__ import annotations

import dataclasses
import signal
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_spip.errors import HarnessProblem, NetworkProblem
from pytest_spip.model import Indexes, Outcome, Phase, Reason
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Attempt, Failure
from tests.support.distributions import simple_sdist, wheel
from tests.support.index import Answer, Fault, LocalIndex
from tests.support.machine import eventually
from tests.support.rooms import alive
from tests.support.supply import Supply

GOOD = {"demo.py": ""}


def resolve(supply: Supply, requirement: str = "demo==1.0", uv: Uv | None = None, **how: Any) -> str:
    """Resolve a requirement for the running interpreter and return the lock's text."""
    lock = Path(tempfile.mkdtemp(dir=supply.root)) / "pylock.toml"  # uv would keep to what is locked already
    attempt = (uv or supply.uv()).resolve((requirement,), supply.here(), lock, **how)
    if attempt.problem:
        raise attempt.problem
    return lock.read_text()


# -- the program --------------------------------------------------------------------------------------------------------


def test_program_that_cannot_be_started(supply: Supply) -> None:
    """A uv that cannot be started is our trouble, not the package's."""
    with pytest.raises(HarnessProblem, match="cannot start /missing/uv: No such file or directory"):
        resolve(supply, uv=Uv(supply.indexes(), binary="/missing/uv", environ=supply.environ))


# -- resolving ----------------------------------------------------------------------------------------------------------


def test_resolve(supply: Supply) -> None:
    """A resolution names the files of the release and of its dependencies with their hashes."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep>=1"])
    listed = supply.index.add(wheel(supply.files, "dep", "1.5", {"dep.py": ""}))
    text = resolve(supply)
    assert 'name = "dep"\nversion = "1.5"' in text
    assert listed.sha256 in text


def test_resolve_as_of(supply: Supply) -> None:
    """A date hides what was uploaded later."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    for version, date in (("1.0", "2020-01-01T00:00:00Z"), ("2.0", "2024-01-01T00:00:00Z")):
        supply.index.add(wheel(supply.files, "dep", version, {"dep.py": ""}), upload_time=date)
    supply.index.add(supply.files / "demo-1.0-py3-none-any.whl", upload_time="2020-01-01T00:00:00Z")
    assert 'name = "dep"\nversion = "1.0"' in resolve(supply, uv=supply.uv(date="2024-01-01T00:00:00Z"))
    assert 'name = "dep"\nversion = "2.0"' in resolve(supply, uv=supply.uv(date="2024-01-01T00:00:01Z"))


def test_resolve_with_a_wheel_built_here(supply: Supply, tmp_path: Path) -> None:
    """A wheel built here is taken instead of the sdist, which nobody builds then, beside find-links and dates."""
    counter = tmp_path / "builds"
    supply.index.add(
        simple_sdist(supply.files, "demo", "1.0", GOOD, counter=counter), upload_time="2020-01-01T00:00:00Z"
    )
    for name in ("built", "links"):
        (tmp_path / name).mkdir()
    built = wheel(tmp_path / "built", "demo", "1.0", GOOD, requires=["dep"])
    wheel(tmp_path / "links", "dep", "3.0", {"dep.py": ""})
    uv = supply.uv(supply.indexes(find_links=[tmp_path / "links"]), "2024-01-01T00:00:00Z")
    text = resolve(supply, uv=uv, wheels=(built,))
    assert built.as_uri() in text
    assert (tmp_path / "links" / "dep-3.0-py3-none-any.whl").as_uri() in text
    assert not counter.exists()


def test_resolve_by_the_first_index(supply: Supply, tmp_path: Path) -> None:
    """Each project is taken from the first index that lists it."""
    (tmp_path / "second").mkdir()
    wheel(supply.files, "demo", "1.0", GOOD, requires=["dep"])
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    wheel(tmp_path / "second", "dep", "2.0", {"dep.py": ""})
    with LocalIndex(tmp_path / "second") as second:
        both = supply.indexes(supply.index.url, second.url)
        assert 'name = "dep"\nversion = "1.0"' in resolve(supply, uv=supply.uv(both))
        turned = supply.indexes(second.url, supply.index.url)
        assert 'name = "dep"\nversion = "2.0"' in resolve(supply, uv=supply.uv(turned))


def test_resolve_without_any_index(supply: Supply, tmp_path: Path) -> None:
    """Without an index only find-links are looked at."""
    wheel(tmp_path, "demo", "1.0", GOOD)
    assert "demo-1.0-py3-none-any.whl" in resolve(supply, uv=supply.uv(Indexes((), (str(tmp_path),))))
    assert supply.index.requests == []


def test_resolve_offline(supply: Supply) -> None:
    """Offline, what uv has seen before is enough, and what it has not seen is the network's fault."""
    wheel(supply.files, "demo", "1.0", GOOD)
    resolve(supply)
    asked = list(supply.index.requests)
    offline = supply.uv(supply.indexes(offline=True))
    assert 'name = "demo"' in resolve(supply, uv=offline)
    with pytest.raises(NetworkProblem):
        resolve(supply, "other==1.0", uv=offline)
    assert asked == supply.index.requests


class Caching(LocalIndex):
    """An index that lets pages be kept for ten minutes, as the public one does."""

    def answer(self, path: str, accept: str, authorization: str) -> Answer:
        """Answer with a lease."""
        told = super().answer(path, accept, authorization)
        return dataclasses.replace(told, headers=(*told.headers, ("Cache-Control", "max-age=600")))


def test_release_newer_than_what_uv_keeps(tmp_path: Path) -> None:
    """A release that the plan has seen is found though uv keeps an older page."""
    (tmp_path / "files").mkdir()
    with Caching(tmp_path / "files") as index:
        supply = Supply(tmp_path, index)
        wheel(supply.files, "demo", "1.0", GOOD)
        resolve(supply)
        wheel(supply.files, "demo", "2.0", GOOD)
        assert 'version = "2.0"' in resolve(supply, "demo==2.0")


def need(supply: Supply, requirement: str) -> None:
    """List a release that needs something."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=[requirement])


def test_no_solution(supply: Supply) -> None:
    """A release whose dependencies cannot be met is skipped, and uv says why."""
    need(supply, "dep>=2")
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    with pytest.raises(Failure) as failure:
        resolve(supply)
    verdict = failure.value.verdict
    assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION)
    assert "only dep==1.0 is available and all versions of demo depend on dep>=2" in verdict.detail
    assert "No solution found" in failure.value.output


def test_no_such_release(supply: Supply) -> None:
    """A release that the index does not have is no solution, also when uv has looked twice."""
    wheel(supply.files, "demo", "1.0", GOOD)
    with pytest.raises(Failure) as failure:
        resolve(supply, "demo==7.0")
    assert failure.value.verdict.reason is Reason.NO_SOLUTION


@pytest.mark.parametrize(
    ("metadata", "detail"),
    [
        ("Name: other\nVersion: 1.0\n", "Package metadata name `other` does not match given name `demo`"),
        ("Version: 1.0\n", "Metadata for `demo` (v1.0) could not be parsed: Metadata field Name not found"),
        ("Name: demo\nVersion: 1.0\nRequires-Dist: ???\n", "Metadata for `demo` (v1.0) could not be parsed: Expected"),
    ],
)
def test_bad_metadata(supply: Supply, metadata: str, detail: str) -> None:
    """A release whose metadata make no sense is bad, and that is no lack of a solution."""
    text = f"Metadata-Version: 2.1\n{metadata}"
    wheel(supply.files, "demo", "1.0", GOOD, extra_dist_info={"METADATA": text})
    with pytest.raises(Failure) as failure:
        resolve(supply)
    verdict = failure.value.verdict
    assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA)
    assert verdict.detail.startswith(detail)


def test_no_wheel_at_all(supply: Supply) -> None:
    """A file that only has a wheel's name is bad as well."""
    (supply.files / "demo-1.0-py3-none-any.whl").write_bytes(b"nonsense")
    with pytest.raises(Failure) as failure:
        resolve(supply)
    assert failure.value.verdict.reason is Reason.BAD_METADATA
    assert failure.value.verdict.detail.startswith(
        "The structure of `demo` (v1.0) was invalid: Failed to read from zip"
    )


def test_dependency_with_bad_metadata(supply: Supply) -> None:
    """A dependency whose only release is bad is one that cannot be had."""
    need(supply, "dep")
    wheel(supply.files, "dep", "1.0", {}, extra_dist_info={"METADATA": "nonsense"})
    with pytest.raises(Failure) as failure:
        resolve(supply)
    assert failure.value.verdict.reason is Reason.NO_SOLUTION


@pytest.mark.parametrize("status", [401, 403, 500])
def test_resolve_by_an_index_in_trouble(supply: Supply, status: int) -> None:
    """An index that refuses to answer is the network's fault."""
    need(supply, "dep")
    supply.index.inject(supply.index.page_path("dep"), Fault(status=status))
    with pytest.raises(NetworkProblem, match=rf"dep|{supply.index.url}"):
        resolve(supply)


def test_resolve_for_no_interpreter(supply: Supply) -> None:
    """What uv cannot do for reasons of ours says nothing about the package."""
    nobody = dataclasses.replace(supply.here(), path="/missing/python")
    attempt = supply.uv().resolve(("demo==1.0",), nobody, supply.root / "pylock.toml")
    assert isinstance(attempt.problem, HarnessProblem)
    assert str(attempt.problem).startswith("uv: ")


def test_resolve_takes_too_long(supply: Supply) -> None:
    """An index that does not answer in time is the network's fault."""
    supply.index.inject(supply.index.page_path("demo"), Fault(stall=30.0))
    with pytest.raises(NetworkProblem, match="did not answer in time"):
        resolve(supply, timeout=0.5)


def test_passed_over(supply: Supply) -> None:
    """uv tells which versions it would have chosen, had they a wheel, in the order in which it came to them."""
    need(supply, "dep<3")
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    for version in ("2.0", "3.0"):
        simple_sdist(supply.files, "dep", version, {"dep.py": ""})
    lock = supply.root / "pylock.toml"
    attempt = supply.uv().resolve(("demo==1.0",), supply.here(), lock)
    assert attempt == Attempt((("dep", "2.0"),), None)
    assert 'name = "dep"\nversion = "1.0"' in lock.read_text()


def test_passed_over_without_a_solution(supply: Supply) -> None:
    """uv tells what it passed over also when nothing was left, for extras and under markers too."""
    wheel(supply.files, "demo", "1.0", GOOD, requires=['dep[more]>=1; python_version > "3"'])
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""})
    attempt = supply.uv().resolve(("demo==1.0",), supply.here(), supply.root / "pylock.toml")
    assert attempt.passed_over == (("dep", "1.0"),)
    assert isinstance(attempt.problem, Failure)
    assert attempt.problem.verdict.reason is Reason.NO_SOLUTION
    assert "DEBUG" not in attempt.problem.output


def test_nothing_is_passed_over(supply: Supply) -> None:
    """Where every choice has a wheel, nothing is passed over, whatever else the index has."""
    need(supply, "dep<2")
    wheel(supply.files, "dep", "1.0", {"dep.py": ""})
    for version in ("0.5", "2.0"):
        simple_sdist(supply.files, "dep", version, {"dep.py": ""})
    assert supply.uv().resolve(("demo==1.0",), supply.here(), supply.root / "pylock.toml") == Attempt((), None)


# -- what uv sees -------------------------------------------------------------------------------------------------------


def test_credentials(tmp_path: Path) -> None:
    """An index is asked with the credentials of its URL, or of the netrc."""
    (tmp_path / "files").mkdir()
    with LocalIndex(tmp_path / "files", credentials=("user", "p@ss")) as index:
        supply = Supply(tmp_path, index)
        wheel(supply.files, "demo", "1.0", GOOD)
        url = index.url.replace("//", "//user:p%40ss@")
        assert "p%40ss" not in resolve(supply, uv=supply.uv(supply.indexes(url)))
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password p@ss\n")
        netrc = {"NETRC": str(tmp_path / "netrc"), "UV_CACHE_DIR": str(tmp_path / "another")}
        assert 'name = "demo"' in resolve(supply, uv=supply.uv(environ=netrc))


# -- the end ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(supply: Supply) -> Iterator[tuple[Uv, Future[str], psutil.Process]]:
    """Yield uv, a resolution that waits for the index, and uv's process."""
    supply.index.inject(supply.index.page_path("demo"), Fault(stall=60.0))
    uv = supply.uv()
    with ThreadPoolExecutor(1) as pool:
        resolving = pool.submit(resolve, supply, uv=uv)
        assert eventually(lambda: bool(supply.index.requests))
        (process,) = (child for child in psutil.Process().children() if child.name() == "uv")
        yield uv, resolving, process
        uv.stop()


def test_stop(supply: Supply, hanging: tuple[Uv, Future[str], psutil.Process]) -> None:
    """What runs is killed, and nothing begins afterwards."""
    uv, resolving, process = hanging
    uv.stop()
    with pytest.raises(HarnessProblem, match="the session is ending"):
        resolving.result(30)
    assert not alive(process.pid)
    with pytest.raises(HarnessProblem, match="the session is ending"):
        resolve(supply, uv=uv)


def test_uv_is_killed(hanging: tuple[Uv, Future[str], psutil.Process]) -> None:
    """A uv that somebody killed, as Ctrl-C does, has said nothing about the package."""
    _, resolving, process = hanging
    process.send_signal(signal.SIGINT)
    with pytest.raises(HarnessProblem, match="uv was ended by signal 2"):
        resolving.result(30)


@pytest.mark.parametrize(("offline", "environ"), [(True, {}), (False, {"UV_PYTHON_DOWNLOADS": "never"})])
def test_interpreters_that_may_not_be_downloaded(supply: Supply, offline: bool, environ: Mapping[str, str]) -> None:
    """Who is offline, or forbids it, has no interpreter downloaded."""
    assert not supply.uv(supply.indexes(offline=offline), environ=environ).install_python("3.12")
