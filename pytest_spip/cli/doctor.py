"""``pytest-spip doctor``: what this machine offers, and the fix for what is missing."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import platformdirs

from pytest_spip.compose.base import check_git
from pytest_spip.compose.ram import choose_root, discard
from pytest_spip.disk import open_cache
from pytest_spip.errors import UsageProblem
from pytest_spip.plan.interpreters import discover, select
from pytest_spip.provision.uv import find_uv
from pytest_spip.run.levels import MENDS, choose_sandbox, try_level
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.confinement import find_unconfined
from pytest_spip.session.umask import SessionUmask

__all__ = ["doctor"]

LEVELS = {
    3: "namespaces, a private view, a system call filter",
    2: "Landlock, a system call filter",
    1: "limits and a clean environment",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something a run uses: ``works`` says what is there; ``lacks`` why it is not, and then ``mend`` what to do."""

    what: str
    works: str = ""
    lacks: str = ""
    mend: str = ""

    def lines(self) -> Iterator[str]:
        """Yield what to print."""
        if not self.lacks:
            yield f"  ok  {self.what}: {self.works}"
            return
        yield f"  --  {self.what}: {self.lacks}"
        yield f"      mend: {self.mend}"


def doctor(_: Sequence[str]) -> int:
    """Print what this machine offers; return 1 when something is missing."""
    SessionUmask()
    findings = [*sandboxes(), *places(os.environ), *tools(), *interpreters(os.environ)]
    print("pytest-spip on this machine")
    for finding in findings:
        print("\n".join(finding.lines()))
    return int(any(finding.lacks for finding in findings))


def sandboxes() -> Iterator[Finding]:
    """Yield what each level of the sandbox says to real attacks, and whether interpreters can be kept warm."""
    strongest = True
    for level, what in LEVELS.items():
        lacks = try_level(level)
        chosen = "works, and runs use it" if strongest and not lacks else "works"
        strongest = strongest and bool(lacks)
        yield Finding(f"sandbox level {level} ({what})", chosen, lacks, MENDS[level])
    lacks = "" if has_fork_servers() else f"{sys.platform} has no pidfd"
    yield Finding("warm interpreters", "work", lacks, "use Linux 5.4 or newer; until then every check starts cold")


def places(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield where environments and the cache would be."""
    root = choose_root("auto", environ)
    summary = root.summary
    discard(root.path)
    lacks = "" if root.kind == "tmpfs" else summary
    yield Finding("environments", summary, lacks, "mount a tmpfs with room, and name it with --spip-ram=DIR")
    cache = platformdirs.user_cache_path("pytest-spip")
    yield _tried("cache", lambda: open_cache(cache).close(), str(cache))


def tools() -> Iterator[Finding]:
    """Yield the programs that a run calls."""
    yield _tried("git", check_git, "works")
    yield _tried("uv", find_uv, "works")


def interpreters(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the Pythons that a run would use by default."""
    cache = open_cache(platformdirs.user_cache_path("pytest-spip"))
    try:
        found = select(discover(environ, cache), ())
        refused = find_unconfined(found, choose_sandbox("auto", environ=environ), cache)
    finally:
        cache.close()
    names = ", ".join(one.version for one in found)
    yield Finding("Pythons", names, "" if found else "none from 3.8 on", "'uv python install 3.13' brings one")
    for one in found:
        if one.id in refused:
            what, _, mend = refused[one.id].rpartition("; ")
            yield Finding(f"Python {one.version}", "", what, mend)


def _tried(what: str, attempt: Callable[[], object], works: str) -> Finding:
    try:
        attempt()
    except UsageProblem as error:
        return Finding(what, "", error.what, error.mend)
    return Finding(what, works)
