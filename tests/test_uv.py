"""uv, the program: what it is told, what it sees, and what its words mean."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from pytest_spip.errors import HarnessProblem, NetworkProblem, ToolMissing
from pytest_spip.model import Indexes, Outcome, Phase, Reason
from pytest_spip.provision.uv import Failure, Uv, build_error, find_uv, last_words
from tests.support.distributions import PYPROJECT, sdist, simple_sdist, wheel
from tests.support.index import Answer, Fault, LocalIndex
from tests.support.machine import eventually
from tests.support.rooms import alive
from tests.support.supply import Supply

GOOD = {"demo.py": ""}
NEEDS_MISSING = '[build-system]\nrequires = ["missing"]\nbuild-backend = "missing"\n'


@pytest.fixture
def supply(tmp_path: Path) -> Iterator[Supply]:
    """Make a world with an empty index."""
    (tmp_path / "files").mkdir()
    with LocalIndex(tmp_path / "files") as index:
        yield Supply(tmp_path, index)


def resolve(supply: Supply, requirement: str = "demo==1.0", uv: Uv | None = None, **how: Path | None) -> str:
    """Resolve a requirement for the running interpreter and return the lock's text."""
    lock = Path(tempfile.mkdtemp(dir=supply.root)) / "pylock.toml"  # uv would keep to what is locked already
    (uv or supply.uv()).resolve(requirement, supply.here(), lock, **how)  # type: ignore[arg-type]  # passed on
    return lock.read_text()


def build(supply: Supply, source: Path, uv: Uv | None = None, **how: float) -> Path:
    """Build an sdist with the running interpreter and return the wheel."""
    target = supply.root / "work" / "out"
    target.mkdir(parents=True, exist_ok=True)
    return (uv or supply.uv()).build(source, supply.here(), target, **how)  # type: ignore[arg-type]  # passed on


def scripted(supply: Supply, body: str, name: str = "demo") -> Path:
    """Write an sdist whose build runs a script."""
    code = "import os, sys\n\ndef build_wheel(directory, settings=None, metadata=None):\n"
    code += "".join(f"    {line}\n" for line in body.splitlines())
    return sdist(supply.root, name, "1.0", {"backend.py": code}, pyproject=PYPROJECT)


# -- the program --------------------------------------------------------------------------------------------------------


def test_find_uv() -> None:
    """uv is the one that is installed beside us."""
    assert os.access(find_uv(), os.X_OK)


def test_find_uv_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where uv's package is not installed, uv is looked for on PATH, and where it is not there either, the mend is named."""
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolMissing, match="uv: not found beside pytest-spip nor on PATH; install it with 'pip install uv'"
    ):
        find_uv()
    (tmp_path / "uv").symlink_to("/bin/true")
    assert find_uv() == str(tmp_path / "uv")


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
    text = resolve(supply, uv=uv, wheel=built)
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


def test_dependency_whose_build_fails(supply: Supply) -> None:
    """A dependency that must be built to be understood, and cannot be, is named with the reason."""
    need(supply, "dep")
    simple_sdist(supply.files, "dep", "1.0", {"dep.py": ""}, fails="no compiler")
    with pytest.raises(Failure) as failure:
        resolve(supply)
    verdict = failure.value.verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.DEPENDENCY_BUILD_FAILED)
    assert verdict.detail == "dep==1.0: RuntimeError: no compiler"
    assert "no compiler" in failure.value.output


def test_dependency_whose_build_requirement_is_missing(supply: Supply) -> None:
    """A dependency whose build requirements do not exist cannot be built, and that is its own fault."""
    need(supply, "dep")
    sdist(supply.files, "dep", "1.0", {}, pyproject=NEEDS_MISSING)
    with pytest.raises(Failure) as failure:
        resolve(supply)
    assert failure.value.verdict.reason is Reason.DEPENDENCY_BUILD_FAILED
    assert "missing was not found" in failure.value.verdict.detail


@pytest.mark.parametrize(("project", "status"), [("dep", 500), ("missing", 401), ("missing", 403), ("missing", 500)])
def test_resolve_by_an_index_in_trouble(supply: Supply, project: str, status: int) -> None:
    """An index that refuses to answer is the network's fault, for a dependency as for what builds it."""
    need(supply, "dep")
    sdist(supply.files, "dep", "1.0", {}, pyproject=NEEDS_MISSING)
    supply.index.inject(supply.index.page_path(project), Fault(status=status))
    with pytest.raises(NetworkProblem, match=rf"{project}|{supply.index.url}"):
        resolve(supply)


def test_resolve_for_no_interpreter(supply: Supply) -> None:
    """What uv cannot do for reasons of ours says nothing about the package."""
    lock = supply.root / "pylock.toml"
    with pytest.raises(HarnessProblem, match="uv: "):
        supply.uv().resolve("demo==1.0", dataclasses.replace(supply.here(), path="/missing/python"), lock)


def test_resolve_takes_too_long(supply: Supply) -> None:
    """An index that does not answer in time is the network's fault."""
    supply.index.inject(supply.index.page_path("demo"), Fault(stall=30.0))
    with pytest.raises(NetworkProblem, match="did not answer in time"):
        supply.uv().resolve("demo==1.0", supply.here(), supply.root / "pylock.toml", timeout=0.5)


# -- building -----------------------------------------------------------------------------------------------------------


def test_build(supply: Supply) -> None:
    """An sdist becomes a wheel."""
    built = build(supply, simple_sdist(supply.root, "demo", "1.0", GOOD))
    assert built.name == "demo-1.0-py3-none-any.whl"


def test_build_with_requirements(supply: Supply) -> None:
    """Build requirements come from the indexes of the run."""
    wheel(
        supply.files, "helper", "1.0", {"helper.py": "def build_wheel(d, s=None, m=None): raise RuntimeError('helped')"}
    )
    source = sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING.replace("missing", "helper"))
    with pytest.raises(Failure, match="RuntimeError: helped"):
        build(supply, source)


def truncated(supply: Supply) -> Path:
    """Write an sdist that ends in the middle."""
    whole = simple_sdist(supply.root, "demo", "1.0", GOOD)
    whole.write_bytes(whole.read_bytes()[:100])
    return whole


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param("raise ValueError('why')", "ValueError: why", id="exception"),
        pytest.param("sys.exit('error: why')", "error: why", id="exit"),
        pytest.param("raise OSError('error sending request')", "OSError: error sending request", id="network-words"),
        pytest.param("os.kill(os.getpid(), 9)", "failed (signal: 9 (SIGKILL))", id="killed"),
        pytest.param("return 'nothing.whl'", "failed (exit status: 0)", id="no-wheel"),
    ],
)
def test_build_fails(supply: Supply, body: str, detail: str) -> None:
    """A build that fails says why in one line, and in its output."""
    with pytest.raises(Failure) as failure:
        build(supply, scripted(supply, body))
    verdict = failure.value.verdict
    assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED)
    assert detail in verdict.detail
    assert "\n" not in verdict.detail


def test_build_of_a_damaged_archive(supply: Supply) -> None:
    """An archive that ends in the middle cannot be built."""
    with pytest.raises(Failure) as failure:
        build(supply, truncated(supply))
    assert failure.value.verdict.reason is Reason.BUILD_FAILED


@pytest.mark.parametrize("status", [401, 403, 500])
def test_build_with_an_index_in_trouble(supply: Supply, status: int) -> None:
    """A build requirement that cannot be fetched is the network's fault."""
    supply.index.inject(supply.index.page_path("missing"), Fault(status=status))
    with pytest.raises(NetworkProblem):
        build(supply, sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING))


def test_build_without_room(supply: Supply) -> None:
    """A full disk is the machine's fault."""
    with pytest.raises(OSError, match="build backend returned an error") as problem:
        build(supply, scripted(supply, "with open('/dev/full', 'w') as full: full.write('x')"))
    assert problem.value.errno == errno.ENOSPC


def test_build_that_uv_cannot_begin(supply: Supply) -> None:
    """What uv cannot do for reasons of the machine says nothing about the package."""
    (supply.root / "file").touch()
    uv = supply.uv(environ={"UV_CACHE_DIR": str(supply.root / "file")})
    with pytest.raises(HarnessProblem, match="Failed to initialize cache"):
        build(supply, simple_sdist(supply.root, "demo", "1.0", GOOD), uv)


def test_build_takes_too_long(supply: Supply) -> None:
    """A build that does not end is killed, and that is its verdict."""
    with pytest.raises(Failure) as failure:
        build(supply, scripted(supply, "import time\nwhile True: time.sleep(60)"), timeout=0.5)
    verdict = failure.value.verdict
    assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.KILLED, Phase.BUILD, Reason.TIMEOUT)


# -- what a build sees --------------------------------------------------------------------------------------------------

DUMP = """
import json
told = {"environ": dict(os.environ), "parent": open("/proc/%d/cmdline" % os.getppid()).read()}
open(DUMP, "w").write(json.dumps(told))
raise ValueError
"""


def seen(supply: Supply, indexes: Indexes, environ: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the environment that a build runs in, and its parent's command line."""
    dump = supply.root / "dump"
    with pytest.raises(Failure):
        build(supply, scripted(supply, DUMP.replace("DUMP", repr(str(dump)))), supply.uv(indexes, environ=environ))
    told = json.loads(dump.read_text())
    return told["environ"], told["parent"]


def test_build_sees_no_secrets(supply: Supply) -> None:
    """A build has a home of its own, and sees neither the user's environment nor the credentials of the indexes."""
    secret = supply.index.url.replace("//", "//user:hush@")
    environ = {"AWS_SECRET": "hush", "UV_INDEX_URL": secret, "LANG": "C.UTF-8"}
    found, parent = seen(supply, supply.indexes(secret), environ)
    assert "hush" not in json.dumps(found)
    assert "hush" not in parent
    assert found["HOME"] not in (supply.environ["HOME"], os.environ["HOME"])
    assert found["LANG"] == "C.UTF-8"


@pytest.mark.parametrize("named", [True, False])
def test_build_finds_netrc(supply: Supply, named: bool) -> None:
    """uv finds the user's netrc, named or in the usual place, for what a build requires."""
    usual = Path(supply.environ["HOME"]) / ".netrc"
    usual.touch()
    found, _ = seen(supply, supply.indexes(), {"NETRC": "/own/netrc"} if named else {})
    assert found["NETRC"] == ("/own/netrc" if named else str(usual))


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

HANG = """
with open(FIFO, "w") as fifo:
    fifo.write(str(os.getpid()))
import signal
while True: signal.pause()
"""


@pytest.fixture
def hanging(supply: Supply) -> Iterator[tuple[Uv, Future[Path], int]]:
    """Yield uv, a build of it that hangs, and the process that does."""
    fifo, uv = supply.root / "fifo", supply.uv()
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build, supply, scripted(supply, HANG.replace("FIFO", repr(str(fifo)))), uv)
        yield uv, building, int(fifo.read_text())
        uv.stop()


def test_stop(supply: Supply, hanging: tuple[Uv, Future[Path], int]) -> None:
    """A build that runs is killed with all its processes, and nothing begins afterwards."""
    uv, building, pid = hanging
    uv.stop()
    with pytest.raises(HarnessProblem, match="the session is ending"):
        building.result(30)
    assert eventually(lambda: not alive(pid))
    with pytest.raises(HarnessProblem, match="the session is ending"):
        resolve(supply, uv=uv)


def test_uv_is_killed(hanging: tuple[Uv, Future[Path], int]) -> None:
    """A build whose uv somebody killed, as Ctrl-C does, has no verdict."""
    _, building, pid = hanging
    uv_process = psutil.Process(pid).parent()
    while uv_process is not None and uv_process.name() != "uv":
        uv_process = uv_process.parent()
    assert uv_process is not None
    uv_process.send_signal(signal.SIGINT)
    with pytest.raises(HarnessProblem, match="uv was ended by signal 2"):
        building.result(30)
    psutil.Process(pid).kill()


@pytest.mark.parametrize(("offline", "environ"), [(True, {}), (False, {"UV_PYTHON_DOWNLOADS": "never"})])
def test_interpreters_that_may_not_be_downloaded(supply: Supply, offline: bool, environ: Mapping[str, str]) -> None:
    """Who is offline, or forbids it, has no interpreter downloaded."""
    assert not supply.uv(supply.indexes(offline=offline), environ=environ).install_python("3.12")


# -- words --------------------------------------------------------------------------------------------------------------

NEWER = """\
error: Failed to build `demo`
  cause: The build backend returned an error
  cause: Call to `x.build_wheel` failed (exit status: 1)
"""
OLDER = """\
  × Failed to build `demo`
  ├─▶ The build backend returned an error
  ╰─▶ Call to `x.build_wheel` failed (exit status: 1)
"""  # noqa: RUF001  # uv's sign


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "Traceback\nValueError: one\n  setuptools.errors.SetupError: two\n" + NEWER,
            "setuptools.errors.SetupError: two",
        ),
        ("warning: x\nerror: command 'gcc' failed\n" + NEWER, "error: command 'gcc' failed"),
        ("demo.c:1: fatal error: Python.h\n" + NEWER, "The build backend returned an error; Call to"),
        (NEWER, "The build backend returned an error; Call to `x.build_wheel` failed (exit status: 1)"),
        (OLDER, "The build backend returned an error; Call to `x.build_wheel` failed (exit status: 1)"),
        ("something\nelse\n", "else"),
        ("", "no output"),
    ],
)
def test_build_error(output: str, told: str) -> None:
    """Of a log, the last exception is the reason, else the last error, else what uv says, of any version."""
    assert build_error(output).startswith(told)


def test_last_words() -> None:
    """Of a long output the end is kept."""
    assert last_words("a\nb\nc\n\n", 2) == "b\nc"
    assert last_words("") == ""
