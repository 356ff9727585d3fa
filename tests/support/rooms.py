"""What the tests of single rooms share: interpreters as records, filed wheels, environments, processes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.compose.base import BaseRepository, Replica
from pytest_spip.compose.worktree import Worktree
from pytest_spip.model import (
    Combo,
    Environment,
    Interpreter,
    Outcome,
    Phase,
    Plan,
    Reason,
    Result,
    RunFacts,
    StoredWheel,
    Summary,
    Verdict,
)
from pytest_spip.plan.interpreters import probe
from pytest_spip.provision.filing import FillableStore
from pytest_spip.report.analysis import groups
from pytest_spip.report.ranges import Cells
from pytest_spip.report.triage import triaged
from pytest_spip.run.process import adopt_orphans
from tests.support.distributions import PYTEST_WHEELS, Content, wheel
from tests.support.interpreters import pythons

__all__ = [
    "Bases",
    "adopting",
    "alive",
    "combo",
    "environment",
    "every_python",
    "filed",
    "filed_installed",
    "filed_pytest",
    "interpreter",
    "interpreters",
    "plan",
    "result",
    "run_facts",
    "shared_bases",
    "summary",
    "tree_of",
]


def every_python() -> dict[str, Path]:
    """Return one CPython for each version that runs when it is asked for: from 3.7 on, where it is present."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    oldest = sorted(root.glob("versions/3.7.*/bin/python"))
    return ({"3.7": oldest[-1]} if oldest else {}) | pythons()


def interpreters(cache: Cache, versions: Sequence[str]) -> dict[str, Interpreter]:
    """Probe Pythons."""
    probed = {version: probe(every_python()[version], cache) for version in versions}
    return {version: one for version, one in probed.items() if one is not None}


def interpreter(version: str = "3.12", path: str = "/usr/bin/python") -> Interpreter:
    """Return a record of an interpreter that need not exist."""
    return Interpreter(f"cpython-{version}.0-linux", f"py{version.replace('.', '')}", f"{version}.0", "cpython", path)


def filed(cache: Cache, name: str, version: str, files: Mapping[str, Content], **how: object) -> StoredWheel:
    """Write a wheel and file it in the cache's store; ``how`` is what :func:`wheel` takes."""
    made = cache.root / "made"
    made.mkdir(parents=True, exist_ok=True)
    path = wheel(made, name, version, files, **how)  # type: ignore[arg-type]  # passed on
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    store = FillableStore(cache)
    store.file(sha256, path.name, lambda target: target.hardlink_to(path))
    found = store.get(sha256)
    assert found is not None, "filed just now"
    return found


def filed_pytest(cache: Cache) -> list[StoredWheel]:
    """File the running pytest and what it needs, once for each cache."""
    if cache.root not in _PYTESTS:
        _PYTESTS[cache.root] = [filed_installed(cache, name) for name in PYTEST_WHEELS]
    return list(_PYTESTS[cache.root])


_PYTESTS: dict[Path, list[StoredWheel]] = {}


def filed_installed(cache: Cache, name: str) -> StoredWheel:
    """File a project of the running environment again, without its bytecode and scripts."""
    found = importlib.metadata.distribution(name)
    paths = [path for path in found.files or () if path.parts[0] != ".." and path.suffix != ".pyc"]
    files = {str(path): path.read_binary() for path in paths if ".dist-info" not in path.parts[0]}
    entry_points = found.read_text("entry_points.txt") or ""
    return filed(cache, name, found.version, files, entry_points=entry_points, requires=found.requires or ())


def environment(*wheels: StoredWheel) -> Environment:
    """Return the environment that the wheels make."""
    return Environment(tuple(wheels), "fingerprint of " + " ".join(each.sha256 for each in wheels))


def combo(
    ordinal: int = 0,
    package: str = "demo",
    version: str = "1.0",
    label: str = "py312",
    python: Interpreter | None = None,
    **more: object,
) -> Combo:
    """Return a combination on an interpreter, or on a CPython that its label names."""
    name, label = (python.id, python.label) if python else (f"cpython-{label[2]}.{label[3:]}.0-linux", label)
    return Combo(ordinal, package, version, name, label, **more)  # type: ignore[arg-type]  # passed on


def plan(*combos: Combo, pythons: tuple[Interpreter, ...] = ()) -> Plan:
    """Return a plan of combinations, whose interpreters need not exist."""
    labels = dict.fromkeys(each.label for each in combos if each.interpreter)
    named = tuple(interpreter(f"{label[2]}.{label[3:]}") for label in labels)
    return Plan(combos, pythons or named, ())


def result(
    ordinal: int = 0,
    outcome: Outcome = Outcome.PASSED,
    reason: Reason | None = None,
    detail: str = "",
    phase: Phase = Phase.IMPORT,
    **more: object,
) -> Result:
    """Return a result with a verdict."""
    return Result(ordinal, Verdict(outcome, phase, reason, detail), **more)  # type: ignore[arg-type]  # passed on


def run_facts(**changes: object) -> RunFacts:
    """Return the facts of a run that has finished."""
    given: dict[str, object] = {
        "uuid": "one",
        "started": "2026-11-01T00:00:00Z",
        "exclude_newer": "2026-11-01T00:00:00Z",
        "command": "pytest",
        "hosts": ("here",),
        "sandbox": "3",
        "sandbox_summary": "level 3",
        "runner": "auto",
        "ram": "tmpfs",
        "check": "import",
        "indexes": (),
        "dated": True,
        "settings": {},
        "plan_hash": "abc",
        "project": None,
        "notes": (),
        "finished": "2026-11-01T00:01:00Z",
        **changes,
    }
    return RunFacts(**given)  # type: ignore[arg-type]  # passed on


def summary(
    combos: Sequence[Combo], results: Sequence[Result], *, selected: Iterable[int] | None = None, **more: object
) -> Summary:
    """Return the summary of a run with these combinations and results."""
    given: dict[str, object] = {
        "facts": run_facts(),
        "phases": {},
        "work": {},
        "seconds": 4.0,
        "cpu": 0.955,
        "iowait": 0.0123,
        **more,
    }
    known = {one.ordinal: one for one in results}
    interpreters = given.setdefault("interpreters", plan(*combos).interpreters)
    assert isinstance(interpreters, tuple)
    return Summary(
        combos=tuple(combos),
        results=known,
        selected=frozenset(range(len(combos)) if selected is None else selected),
        groups=triaged(groups(combos, known), Cells(combos, interpreters, known)),
        **given,  # type: ignore[arg-type]  # passed on
    )


def tree_of(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of everything below a directory, by path; a link's content is where it leads."""
    return {str(path.relative_to(root)): _content(path) for path in sorted(root.rglob("*"))}


def _content(path: Path) -> tuple[int, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return mode, os.fsencode(os.readlink(path))
    return mode, path.read_bytes() if stat.S_ISREG(mode) else b""


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def adopting() -> Iterator[None]:
    """Be what a worker is for its life, for the length of a test: adopt orphans; to be a fixture's body."""
    adopt_orphans()
    yield
    for option in (36, 1):  # PR_SET_CHILD_SUBREAPER, and PR_SET_PDEATHSIG that a workbench may have set
        ctypes.CDLL(None).prctl(option, 0, 0, 0, 0)


class Bases:
    """A cache whose base repository knows some Pythons, every one by default, and worktrees of a replica of it."""

    def __init__(self, root: Path, versions: Sequence[str] = ()) -> None:
        self.cache = Cache(root / "cache")
        self.cache.root.mkdir()
        self.pythons = interpreters(self.cache, versions or list(every_python()))
        self.repository = BaseRepository(self.cache)
        self.repository.ensure(list(self.pythons.values()))
        self.repository.replicate(root / "base.git")
        self._root = root
        self._worktrees: dict[str, Worktree] = {}

    def replica(self, name: str) -> Replica:
        """Make a replica as a worker does."""
        return Replica(self._root / "base.git", self._root / name)

    def fresh(self, name: str, version: str) -> Worktree:
        """Make a worktree that nobody else uses."""
        replica = self.replica(name)
        return Worktree(replica.add_worktree(self.pythons[version]), self.pythons[version], replica.restore)

    def worktree(self, version: str) -> Worktree:
        """Return the worktree that all share."""
        if version not in self._worktrees:
            self._worktrees[version] = self.fresh(f"shared-{version}", version)
        return self._worktrees[version]


@functools.cache
def shared_bases(session: Path) -> Bases:
    """Return the only one below a session's directory: it takes a second to make."""
    (session / "bases").mkdir()
    return Bases(session / "bases")
