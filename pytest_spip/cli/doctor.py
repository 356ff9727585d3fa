"""``pytest-spip doctor``: what this machine offers, and the fix for what is missing."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import glob
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.common.cache import Cache, cache_root, open_cache
from pytest_spip.common.parallel import ask_all
from pytest_spip.common.processes import kill_descendants, running_commands
from pytest_spip.common.trees import remove_tree
from pytest_spip.compose.git import check_git
from pytest_spip.compose.ram import choose_root, discard
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Interpreter, Sandbox
from pytest_spip.plan.interpreters import discover, select
from pytest_spip.provision.uv_program import find_uv
from pytest_spip.run.levels import FIXES, probe_parent, probe_prefix, try_level
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.confinement import find_unconfined
from pytest_spip.session.umask import SessionUmask

__all__ = ["doctor", "parser"]

LEVELS = {
    3: "namespaces, a private view, a system call filter",
    2: "Landlock, a system call filter",
    1: "limits and a clean environment",
}
PATIENCE = 16.0
"""Seconds that all questions together may take. With what Python takes to start, the command ends within 20."""
Answers = Mapping[str, Any]
"""By question: a finding, or what findings are made of. What is missing got no answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something a run uses: ``works`` says what is there; ``lacks`` why it is not, and then ``fix`` what to do."""

    what: str
    works: str = ""
    lacks: str = ""
    fix: str = ""

    def lines(self) -> Iterator[str]:
        """Yield what to print."""
        if not self.lacks:
            yield f"  ok  {self.what}: {self.works}"
            return
        yield f"  --  {self.what}: {self.lacks}"
        yield f"      fix: {self.fix}"

    def to_plain(self) -> dict[str, object]:
        """Return the entry of the JSON object."""
        fix = self.fix if self.lacks else None
        return {"what": self.what, "ok": not self.lacks, "detail": self.lacks or self.works, "fix": fix}


def doctor(arguments: Sequence[str]) -> int:
    """Print what this machine offers; return 1 when something is missing. Ends in time, whatever hangs."""
    as_json = parser().parse_args(arguments).json
    SessionUmask()
    answers, late = ask_machine(os.environ)
    findings = list(findings_of(answers, late))
    if as_json:
        plain = {"schema": 1, "ok": not any(one.lacks for one in findings)}
        print(json.dumps({**plain, "findings": [one.to_plain() for one in findings]}, indent=1))
    else:
        print("\n".join(["pytest-spip on this machine", *(line for one in findings for line in one.lines())]))
    if late:
        _leave()
    return int(any(finding.lacks for finding in findings))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(prog="pytest-spip doctor")
    made.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return made


def ask_machine(environ: Mapping[str, str]) -> tuple[Answers, str]:
    """Ask everything; return the answers, and what still runs for those that did not come in time."""
    until = time.monotonic() + PATIENCE
    cache = cache_root("", Path())
    questions: dict[str, Callable[[], object]] = {
        **{f"level {level}": functools.partial(try_level, level) for level in LEVELS},
        "environments": lambda: environments(environ),
        "cache": lambda: _tried("cache", lambda: open_cache(cache), str(cache)),
        "git": lambda: _tried("git", check_git, "works"),
        "uv": lambda: _tried("uv", find_uv, "works"),
        "Pythons": lambda: select(discover(environ, open_cache(cache)), ()),
    }
    answers, failures = ask_all(questions, until)
    level = next((level for level in LEVELS if answers.get(f"level {level}") == ""), 1)
    confined = {"confined": lambda: find_unconfined(answers["Pythons"], Sandbox(level), open_cache(cache))}
    if "Pythons" in answers:
        more, failed = ask_all(confined, until)
        answers, failures, questions = {**answers, **more}, {**failures, **failed}, {**questions, **confined}
    answers |= {name: Finding(name, "", str(error) or repr(error), "see above") for name, error in failures.items()}
    Cache(cache).close()  # at the end: other questions have it open meanwhile
    late = [name for name in questions if name not in answers]
    return answers, "; ".join(running_commands()) or "nothing that we started" if late else ""


def findings_of(answers: Answers, late: str) -> Iterator[Finding]:
    """Yield a line for each question; ``late`` is what still runs for those without an answer."""

    def missing(what: str) -> Finding:
        fix = "see what it waits for: a file system that does not answer, or a program that does not end"
        return Finding(what, "", f"no answer within {PATIENCE:g} s; still running: {late[:1000]}", fix)

    yield from sandboxes(answers, missing)
    for name in ("environments", "cache", "git", "uv"):
        yield answers.get(name) or missing(name)
    yield from pythons(answers, missing)


def sandboxes(answers: Answers, missing: Callable[[str], Finding]) -> Iterator[Finding]:
    """Yield what each level of the sandbox says to real attacks, and whether interpreters can be kept warm."""
    strongest = True
    for level, kind in LEVELS.items():
        lacks, what = answers.get(f"level {level}"), f"sandbox level {level} ({kind})"
        if lacks is None:
            yield missing(what)
        elif isinstance(lacks, Finding):
            yield dataclasses.replace(lacks, what=what, fix=FIXES[level])
        else:
            yield Finding(what, "works, and runs use it" if strongest and not lacks else "works", lacks, FIXES[level])
            strongest = strongest and bool(lacks)
    lacks = "" if has_fork_servers() else f"{sys.platform} has no pidfd"
    yield Finding("warm interpreters", "work", lacks, "use Linux 5.4 or newer; until then every check starts cold")


def environments(environ: Mapping[str, str]) -> Finding:
    """Return where environments would be."""
    try:
        root = choose_root("auto", environ)
    except UsageProblem as error:
        return Finding("environments", "", error.what, error.fix)
    summary = root.summary
    discard(root.path)
    lacks = "" if root.kind == "tmpfs" else summary
    return Finding("environments", summary, lacks, "mount a tmpfs with room, and name it with --spip-ram=DIR")


def pythons(answers: Answers, missing: Callable[[str], Finding]) -> Iterator[Finding]:
    """Yield the Pythons that a run would use by default, and those of them that a sandbox keeps from starting."""
    found: Sequence[Interpreter] | Finding | None = answers.get("Pythons")
    if found is None or isinstance(found, Finding):
        yield found or missing("Pythons")
        return
    names = ", ".join(one.version for one in found)
    yield Finding("Pythons", names, "" if found else "none from 3.8 on", "'uv python install 3.13' brings one")
    refused: Mapping[str, str] | Finding | None = answers.get("confined")
    if refused is None or isinstance(refused, Finding):
        yield refused or missing("Pythons inside of the sandbox")
        return
    for one in found:
        if one.id in refused:
            what, _, fix = refused[one.id].rpartition("; ")
            yield Finding(f"Python {one.version}", "", what, fix)


def _tried(what: str, attempt: Callable[[], object], works: str) -> Finding:
    try:
        attempt()
    except UsageProblem as error:
        return Finding(what, "", error.what, error.fix)
    return Finding(what, works)


def _leave() -> None:
    """End at once, and leave nothing: threads that got no answer would keep this process, and what they started."""
    sys.stdout.flush()
    kill_descendants()
    for probe in glob.glob(f"{probe_parent()}/{probe_prefix()}*"):
        remove_tree(Path(probe))
    os._exit(1)
