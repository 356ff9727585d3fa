"""What a build backend is asked, what it sees, and what its answers and its end mean."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.errors import HarnessProblem, NetworkProblem
from pytest_spip.model import DistFile, Indexes, Outcome, Phase, Reason
from pytest_spip.provision.builds import Builder
from pytest_spip.provision.hooks import LIMITS
from pytest_spip.provision.uv_output import Failure
from pytest_spip.run.levels import choose_sandbox
from tests.support.distributions import PYPROJECT, scripted, sdist, simple_sdist, wheel
from tests.support.index import Fault
from tests.support.supply import Supply

GOOD = {"demo.py": ""}
NEEDS_MISSING = '[build-system]\nrequires = ["missing"]\nbuild-backend = "missing"\n'


def build(supply: Supply, source: Path, builder: Builder | None = None) -> Path:
    """Build an sdist with the running interpreter and return the wheel."""
    file = DistFile(source.name, source.as_uri(), "sdist", "1.0")
    return (builder or supply.builder()).wheel("demo", file, supply.here()).path


def failure(supply: Supply, source: Path, builder: Builder | None = None) -> Failure:
    """Build in vain and return why."""
    with pytest.raises(Failure) as caught:
        build(supply, source, builder)
    return caught.value


def test_build(supply: Supply) -> None:
    """An sdist becomes a wheel."""
    assert build(supply, simple_sdist(supply.root, "demo", "1.0", GOOD)).name == "demo-1.0-py3-none-any.whl"


# -- requirements -------------------------------------------------------------------------------------------------------

HELPER = {"helper.py": "def build_wheel(d, s=None, m=None): raise RuntimeError('helped')"}


def test_build_with_requirements(supply: Supply) -> None:
    """Build requirements come from the indexes of the run."""
    wheel(supply.files, "helper", "1.0", HELPER)
    source = sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING.replace("missing", "helper"))
    assert failure(supply, source).verdict.detail == "RuntimeError: helped"


def test_requirements_that_the_backend_asks_for(supply: Supply) -> None:
    """What the backend asks for when it is called is there when it builds, beside what the table requires."""
    for name in ("first", "second"):
        wheel(supply.files, name, "1.0", {f"{name}.py": f"word = {name!r}"})
    body = "import first, second\nraise RuntimeError(first.word + second.word)"
    more = "def get_requires_for_build_wheel(settings=None):\n    import first\n    return ['second>=1']\n"
    source = scripted(supply.root, body, more, requires=["first"])
    assert failure(supply, source).verdict.detail == "RuntimeError: firstsecond"


@pytest.mark.parametrize("answer", ["'second'", "[1]", "{}"])
def test_requirements_that_make_no_sense(supply: Supply, answer: str) -> None:
    """A backend that does not answer with a list of strings fails to build."""
    more = f"def get_requires_for_build_wheel(settings=None): return {answer}\n"
    assert "does not return a list of strings" in failure(supply, scripted(supply.root, "", more)).verdict.detail


@pytest.mark.parametrize(
    "requirement",
    ["-r /etc/passwd", "--index-url=http://elsewhere", "x\n-e .", "x @ file:///etc/passwd", "x @ git+https://y"],
)
@pytest.mark.parametrize("asked", [True, False])
def test_requirements_that_are_none(supply: Supply, requirement: str, asked: bool) -> None:
    """A requirement that would be an option for uv, or lead it to our files or to a repository, is refused."""
    more = f"def get_requires_for_build_wheel(settings=None): return [{requirement!r}]\n"
    source = scripted(supply.root, "", more) if asked else scripted(supply.root, "", requires=[requirement])
    verdict = failure(supply, source).verdict
    assert verdict.reason is Reason.BUILD_FAILED
    assert f"it requires {requirement!r}, which is" in verdict.detail


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_requirement_by_url(supply: Supply, kind: str) -> None:
    """A build requirement may be named by the URL of a wheel; an sdist's is not built."""
    path = wheel(supply.files, "helper", "1.0", HELPER)
    if kind == "sdist":
        path = simple_sdist(supply.files, "helper", "2.0", HELPER)
    requirement = f"helper@ {supply.index.url.replace('/simple/', supply.index.file_path(path))}"
    pyproject = NEEDS_MISSING.replace('"missing"]', f'"{requirement}"]').replace("missing", "helper")
    verdict = failure(supply, sdist(supply.root, "demo", "1.0", {}, pyproject=pyproject)).verdict
    assert verdict.reason is Reason.BUILD_FAILED
    assert ("helped" if kind == "wheel" else "Building source distributions for `helper` is disabled") in verdict.detail


def test_requirement_without_a_wheel(supply: Supply) -> None:
    """A build requirement that offers no wheel is built first."""
    simple_sdist(supply.files, "helper", "1.0", HELPER)
    source = sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING.replace("missing", "helper"))
    assert failure(supply, source).verdict.detail == "RuntimeError: helped"


def test_requirement_that_is_missing(supply: Supply) -> None:
    """An sdist whose build requirements do not exist cannot be built."""
    verdict = failure(supply, sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING)).verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.BUILD_FAILED)
    assert "missing was not found" in verdict.detail


def test_requirements_in_a_ring(supply: Supply) -> None:
    """Sdists that need each other to be built are not waited for, and whoever is asked for first, the ring reads the same."""
    for name, other in (("helper", "other"), ("other", "helper")):
        sdist(supply.files, name, "1.0", {}, pyproject=NEEDS_MISSING.replace("missing", other))
    source = sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING.replace("missing", "helper"))
    detail = failure(supply, source).verdict.detail
    assert detail.endswith("lead back to it or to each other: helper-1.0.tar.gz, other-1.0.tar.gz")
    for name in ("helper", "other"):
        again = sdist(supply.root, "demo", "1.0", {"which": name}, pyproject=NEEDS_MISSING.replace("missing", name))
        assert failure(supply, again).verdict.detail == detail


@pytest.mark.parametrize("status", [401, 403, 500])
def test_build_with_an_index_in_trouble(supply: Supply, status: int) -> None:
    """A build requirement that cannot be fetched is the network's fault."""
    supply.index.inject(supply.index.page_path("missing"), Fault(status=status))
    with pytest.raises(NetworkProblem):
        build(supply, sdist(supply.root, "demo", "1.0", {}, pyproject=NEEDS_MISSING))


# -- ends ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param("raise ValueError('why')", "ValueError: why", id="exception"),
        pytest.param("sys.exit('error: why')", "error: why", id="exit"),
        pytest.param("sys.exit(3)", "build_wheel ended with status 3", id="silent"),
        pytest.param("os._exit(0)", "the backend ended without an answer", id="no-answer"),
        pytest.param("raise OSError('error sending request')", "OSError: error sending request", id="network-words"),
        pytest.param("os.kill(os.getpid(), 9)", "build_wheel ended with signal SIGKILL", id="killed"),
        pytest.param("return 'nothing.whl'", "returns 'nothing.whl', which it has not made", id="no-wheel"),
        pytest.param("return '../x.whl'", "returns '../x.whl', which is no wheel's name", id="elsewhere"),
        pytest.param("return 7", "returns 7, which is no wheel's name", id="no-name"),
    ],
)
def test_build_fails(supply: Supply, body: str, detail: str) -> None:
    """A build that fails says why in one line, and in its output."""
    failed = failure(supply, scripted(supply.root, f"print('begun', flush=True)\n{body}"))
    verdict = failed.verdict
    assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED)
    assert "\n" not in verdict.detail
    assert detail in verdict.detail
    assert failed.output.startswith("begun")


def test_backend_that_cannot_be_imported(supply: Supply) -> None:
    """A backend that is not there, or breaks, fails with its own words."""
    pyproject = PYPROJECT.replace('"backend"', '"absent"')
    failed = failure(supply, sdist(supply.root, "demo", "1.0", {}, pyproject=pyproject))
    assert failed.verdict.reason is Reason.BUILD_FAILED
    assert "absent" in failed.verdict.detail


def test_words_of_a_backend(supply: Supply) -> None:
    """What a backend says when it cannot be imported moves no cursor and turns no letters round."""
    files = {"backend.py": "raise ImportError('\\x1b[2J \\u202e \\udc80')"}
    failed = failure(supply, sdist(supply.root, "demo", "1.0", files, pyproject=PYPROJECT))
    assert "ImportError: " in failed.verdict.detail
    assert (failed.verdict.detail + failed.output.replace("\n", "")).isprintable()


def test_build_without_room(supply: Supply) -> None:
    """A full disk is the machine's fault."""
    with pytest.raises(OSError, match="No space left on device") as problem:
        build(supply, scripted(supply.root, "with open('/dev/full', 'w') as full: full.write('x')"))
    assert problem.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("body", "limits", "reason"),
    [
        ("import time\nwhile True: time.sleep(60)", {"timeout": 1.0}, Reason.TIMEOUT),
        ("keep = ['x' * (64 << 20) for _ in range(99)]", {"memory": 256 << 20}, None),
    ],
)
def test_limits(supply: Supply, body: str, limits: Mapping[str, float], reason: Reason | None) -> None:
    """A build that takes too long is killed; one that takes too much memory fails, or is killed. The verdict names the option."""
    bounds = dataclasses.replace(LIMITS, **limits)  # type: ignore[arg-type]  # each has its field's type
    verdict = failure(supply, scripted(supply.root, body), supply.builder(limits=bounds)).verdict
    if reason:
        assert (verdict.outcome, verdict.phase, verdict.reason) == (Outcome.KILLED, Phase.BUILD, reason)
        assert "--spip-build-timeout" in verdict.detail
    else:
        assert verdict.reason in (Reason.BUILD_FAILED, Reason.OUT_OF_MEMORY)
        assert "--spip-build-memory" in verdict.detail


@pytest.mark.parametrize("level", [1, 3])
def test_much_output(supply: Supply, level: int) -> None:
    """However much a build says, it is not killed for it; of a failed one the beginning and the end are kept."""
    body = "print('the beginning')\nfor _ in range(70): sys.stdout.write((chr(10) + 'x' * 99) * 10486)\n"
    body += "print()\nraise RuntimeError('the end')"
    level = level if choose_sandbox("auto").level >= level else 1
    caught = failure(supply, scripted(supply.root, body), supply.builder(confine=supply.confine(level)))
    assert (caught.verdict.reason, caught.verdict.detail) == (Reason.BUILD_FAILED, "RuntimeError: the end")
    assert "the beginning" in caught.output.splitlines()[0]
    assert "left out" in caught.output
    assert len(caught.output) < 1 << 17


def test_killed_build_is_tried_again(supply: Supply) -> None:
    """A build that a limit killed is tried again with another limit, not with the same: the others would wait for it anew."""
    source = scripted(supply.root, "import time\nwhile True: time.sleep(60)")
    limits = [dataclasses.replace(LIMITS, timeout=seconds) for seconds in (1.0, 1.0, 1.5)]
    assert [failure(supply, source, supply.builder(limits=one)).fresh for one in limits] == [True, False, True]


def test_uv_that_cannot_begin(supply: Supply) -> None:
    """What uv cannot do for reasons of the machine says nothing about the package."""
    (supply.root / "file").touch()
    uv = supply.uv(environ={"UV_CACHE_DIR": str(supply.root / "file")})
    with pytest.raises(HarnessProblem, match="Failed to initialize cache"):
        build(supply, simple_sdist(supply.root, "demo", "1.0", GOOD), supply.builder(uv=uv))


# -- what a build sees, and leaves ----------------------------------------------------------------------------------------

DUMP = """
import json
told = {"environ": dict(os.environ), "parent": open("/proc/%d/cmdline" % os.getppid()).read()}
open(DUMP, "w").write(json.dumps(told))
raise ValueError
"""


def seen(supply: Supply, indexes: Indexes, environ: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the environment that a build runs in, and its parent's command line."""
    dump = supply.root / "dump"
    source = scripted(supply.root, DUMP.replace("DUMP", repr(str(dump))))
    failure(supply, source, supply.builder(indexes, environ=environ))
    told = json.loads(dump.read_text())
    return told["environ"], told["parent"]


def test_build_sees_no_secrets(supply: Supply) -> None:
    """A build has a home of its own, and sees neither the user's environment nor the credentials of the indexes."""
    secret = supply.index.url.replace("//", "//user:hush@")
    environ = {"AWS_SECRET": "hush", "UV_INDEX_URL": secret, "LANG": "C.UTF-8", "NETRC": "/hush"}
    found, parent = seen(supply, supply.indexes(secret), environ)
    assert "hush" not in json.dumps(found)
    assert "hush" not in parent
    assert found["HOME"] not in (supply.environ["HOME"], os.environ["HOME"])
    assert found["LANG"] == "C.UTF-8"


LAY_A_LINK = """
def get_requires_for_build_wheel(settings=None):
    os.symlink({target!r}, os.path.join(sys.argv[2], "planted"))
    os.remove(os.path.join(sys.argv[2], "input.json"))
    os.symlink({target!r}, os.path.join(sys.argv[2], "input.json"))
    return []
"""


def test_links_in_our_way(supply: Supply) -> None:
    """Nothing is written through a link that a hook laid where the next question is put."""
    victim = supply.root / "victim"
    victim.write_text("as it was")
    source = scripted(supply.root, "raise RuntimeError('asked')", LAY_A_LINK.format(target=str(victim)))
    assert failure(supply, source).verdict.detail == "RuntimeError: asked"
    assert victim.read_text() == "as it was"


@pytest.mark.parametrize(
    "body",
    [
        "os.symlink(SECRET, os.path.join(directory, 'demo-1.0-py3-none-any.whl'))\nreturn 'demo-1.0-py3-none-any.whl'",
        "os.mkfifo(os.path.join(directory, 'demo-1.0-py3-none-any.whl'))\nreturn 'demo-1.0-py3-none-any.whl'",
        "os.symlink(SECRET, os.path.join(sys.argv[2], 'output.json'))\nos._exit(0)",
        "open(os.path.join(sys.argv[2], 'output.json'), 'w').write('[' * 9999)\nos._exit(0)",
        "open(os.path.join(sys.argv[2], 'output.json'), 'w').write('[]')\nos._exit(0)",
    ],
)
def test_answers_that_lead_elsewhere(supply: Supply, body: str) -> None:
    """A wheel, or an answer, that is a link or no file is none: nothing that the build could not read is read for it."""
    secret = supply.root / "secret"
    secret.write_text('{"return_val": "hush"}')
    failed = failure(supply, scripted(supply.root, body.replace("SECRET", repr(str(secret)))))
    assert failed.verdict.reason is Reason.BUILD_FAILED
    assert "hush" not in failed.verdict.detail


def test_nothing_is_left(supply: Supply) -> None:
    """Of a build only the wheel, or the log, is left."""
    build(supply, simple_sdist(supply.root, "demo", "1.0", GOOD))
    failure(supply, scripted(supply.root, "os.mkdir('deep')\nos.chmod('deep', 0)\nraise ValueError"))
    assert list((supply.cache.root / "staging").glob("*/*")) == []
    kept = {path.name for path in supply.cache.builds.glob("*/*") if len(path.parent.name) == 40}
    assert kept == {"demo-1.0-py3-none-any.whl", "build.json", "build.log"}
