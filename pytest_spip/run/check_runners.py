"""Checks, apart from how their process is made: what it is to do, and what its end means."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name

from pytest_spip.model import (
    Combo,
    Composed,
    Environment,
    Limits,
    Outcome,
    Phase,
    Reason,
    Result,
    StoredWheel,
    Test,
    Verdict,
)
from pytest_spip.run.jobs import Zygote
from pytest_spip.run.metadata import metadata_problem
from pytest_spip.run.process import Ended
from pytest_spip.run.reasons import ended_badly, import_verdict
from pytest_spip.run.server import CHILD, NONCE, RESULT

__all__ = [
    "SHARING",
    "CheckRunner",
    "CommandCheck",
    "ImportCheck",
    "ProgramCheck",
    "child_environment",
    "files_below",
    "found_program",
    "measured",
    "tried",
]

CHECK_IMPORT = str(CHILD / "check_import.py")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
ENV = "/usr/bin/env"
"""Finds a command on PATH, and says when there is none."""
SHEBANG = re.compile(rb"#!.*python")
"""Begins a script that an interpreter of the system's runs."""
SHARING: Mapping[str, str] = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
) | {"PYTEST_XDIST_AUTO_NUM_WORKERS": "0"}
"""Combinations share the machine: none of them is to start a thread, or a worker, for each processor."""
FAILURE_TEXT = 8192
"""Characters of output that a result keeps."""
_known_problem = functools.lru_cache(maxsize=512)(metadata_problem)  # a filed wheel never changes


class CheckRunner(Protocol):
    """A check: what a child does for it, and what the child's end means.

    ``warm`` says whether a fork server's warm child can do it by itself, ``streams`` whether what a child said counts also
    when it did not come to its end.
    """

    warm: bool
    streams: bool

    def modules(self, combo: Combo, environment: Environment) -> tuple[str, ...]:
        """Return what a warm child is to import."""

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        """Return the program of a cold child; ``RESULT`` and ``NONCE`` in it become descriptors."""

    def zygotes(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits, variables: Mapping[str, str]
    ) -> tuple[Zygote, ...]:
        """Return the processes of which a server may fork one for the program instead of starting it, the best first.

        ``variables`` are those of all combinations.
        """

    def rewriting(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> tuple[str, ...]:
        """Return the layers, with no code but pytest's and a tree's, in which a suite's tests are rewritten; none to leave it."""

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        """Return the source files below directories that a child says it imported; it may say what it likes."""

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        """Return what the child's end means."""


def tried(
    check_runner: CheckRunner, combo: Combo, environment: Environment, limits: Limits, attempt: Callable[[], Ended]
) -> Result:
    """Return the result of a check, which ``attempt()`` makes, unless what was installed is not what was asked for."""
    for wheel, (package, version) in zip(_own_wheels(combo, environment), combo.releases, strict=True):
        if problem := _known_problem(wheel.root, package, version):
            return Result(combo.ordinal, Verdict(Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA, problem))
    return check_runner.result(combo, environment, attempt(), limits)


class ProgramCheck:
    """What a check is unless it says otherwise: a program alone, with nothing to import warm, to fork or to compile."""

    def modules(self, combo: Combo, environment: Environment) -> tuple[str, ...]:
        """Nothing is imported warm."""
        return ()

    def zygotes(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits, variables: Mapping[str, str]
    ) -> tuple[Zygote, ...]:
        """Nothing is forked."""
        return ()

    def rewriting(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> tuple[str, ...]:
        """Nothing is rewritten."""
        return ()

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        """Nothing is compiled beforehand."""
        return ()


class ImportCheck(ProgramCheck):
    """The import of all public modules of the release, in a cross of those of all releases, in their order."""

    warm, streams = True, False

    def modules(self, combo: Combo, environment: Environment) -> tuple[str, ...]:
        """Return the public modules of the releases' wheels."""
        return tuple(module for wheel in _own_wheels(combo, environment) for module in wheel.modules)

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        """Return an interpreter that imports them as ``python -c`` does."""
        modules = self.modules(combo, environment)
        return (composed.python, "-c", cold_code(modules), CHECK_IMPORT, RESULT, NONCE, *modules)

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a warm child says that it imported."""
        kind, *fields = ended.result.split(b"\0")
        names = fields[1] if kind == b"warm" and len(fields) == 4 else b""
        return files_below(tops, map(os.fsdecode, names.split(b"\n")))

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        """Return what became of the imports."""
        verdict, trace, peak_rss = import_verdict(ended, limits, self.modules(combo, environment))
        output = "" if verdict.outcome is Outcome.PASSED else _failure_text(ended.output, trace)
        return measured(combo, ended, verdict, output, peak_rss=peak_rss)


HARNESS = (
    '(lambda own, file: exec(compile(file.read(), "<string>", "exec"), own) or file.close() or own["check"]())'
    '({}, open(__import__("sys").argv[1], "rb"))'
)
"""Loads the harness, and leaves no name of it behind."""


def cold_code(modules: Sequence[str]) -> str:
    """Return the code that imports modules as ``python -c`` does, within the harness; see child/check_import.py."""
    statements = [f"import {module}" for module in modules] or ["pass"]
    return "\n ".join([f"with {HARNESS}:", *statements])


class CommandCheck(ProgramCheck):
    """A program of the environment, or of the system, which is to end with exit status 0."""

    warm, streams = False, False

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        """Return the words, the first found where the environment's own program is meant."""
        return (ENV, found_program(composed.prefix, self._words[0]), *self._words[1:])

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        """Return what the exit status means."""
        verdict = ended_badly(ended, limits, Phase.TEST) or _command_verdict(ended)
        return measured(combo, ended, verdict, ended.output[-FAILURE_TEXT:])


def _command_verdict(ended: Ended) -> Verdict:
    if ended.status == 0:
        return Verdict(Outcome.PASSED, Phase.TEST)
    said = ended.output.split("\n")
    last = next((line.strip() for line in reversed(said) if line.strip()), "")
    detail = f"exit status {ended.status}: {last[:500]}" if last else f"exit status {ended.status}, without a word"
    return Verdict(Outcome.FAILED, Phase.TEST, Reason.COMMAND_FAILED, detail)


def found_program(prefix: str, name: str) -> str:
    """Return a program's name for a search on PATH; its path in the environment where the search would end at another Python's.

    The system has scripts, such as ``pip``, that install elsewhere and see nothing of the environment.
    """
    if "/" not in name:
        places = (Path(place, name) for place in SYSTEM_PATH.split(":"))
        found = next((path for path in places if os.access(path, os.X_OK)), None)
        if found and _is_python_script(found):
            return f"{prefix}/bin/{name}"
    return name


def _is_python_script(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return bool(SHEBANG.match(stream.read(128)))
    except OSError:
        return False


def measured(
    combo: Combo, ended: Ended, verdict: Verdict, output: str, *, peak_rss: int = 0, tests: tuple[Test, ...] = ()
) -> Result:
    """Return the result with what its child took; ``peak_rss`` is the child's own word, if it gave one."""
    return Result(
        ordinal=combo.ordinal,
        verdict=verdict,
        seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
        peak_rss=peak_rss or ended.peak_rss,
        output=output,
        tests=tests,
    )


def _own_wheels(combo: Combo, environment: Environment) -> list[StoredWheel]:
    """Return the wheels of the releases that a combination is about."""
    wheels = {wheel.name: wheel for wheel in environment.wheels}
    return [wheels[canonicalize_name(package)] for package, _ in combo.releases]


def files_below(tops: tuple[str, ...], names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of source files that lie below directories."""
    return tuple(name for name in names if name.startswith(tops) and name.endswith(".py"))


def _failure_text(output: str, trace: str) -> str:
    """Return the end of what the child wrote, and the traceback on lines of its own."""
    gap = "\n" if output and trace and not output.endswith("\n") else ""
    return (output + gap + trace)[-FAILURE_TEXT:]


def child_environment(composed: Composed, passed: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Return the environment variables of a combination: of the user's only those that were named."""
    return {**SHARING, **dict(passed)} | {
        "PATH": f"{composed.prefix}/bin:{SYSTEM_PATH}",
        "HOME": composed.home,
        "TMPDIR": composed.tmp,
        "PWD": composed.cwd,
        "VIRTUAL_ENV": composed.prefix,
        "LANG": "C.UTF-8",
    }
