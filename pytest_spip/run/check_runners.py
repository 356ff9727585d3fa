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
    Check,
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
from pytest_spip.run.metadata import metadata_problem
from pytest_spip.run.process import Ended
from pytest_spip.run.reasons import ended_badly, import_verdict
from pytest_spip.run.runner import NONE
from pytest_spip.run.server import CHILD, NONCE, RESULT
from pytest_spip.run.suite import suite_sources, suite_verdict
from pytest_spip.run.zygotes import Zygote, mentions, zygotes_of

__all__ = ["SHARING", "CheckRunner", "check_runner_of", "child_environment", "found_program", "tried"]

CHECK_IMPORT, CHECK_SUITE = str(CHILD / "check_import.py"), str(CHILD / "check_suite.py")
PYARGS = "--pyargs"
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
REWRITES_OTHERWISE = "enable_assertion_pass_hook"
"""An option with which pytest makes something else of assertions than child/bytecode.py does."""
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


def check_runner_of(check: Check, *, network: bool, shared: bool = False) -> CheckRunner:
    """Return the runner of a check.

    ``network`` says whether the sandbox is open to it, ``shared`` whether combinations have one suite and not each its own.
    """
    match check.kind:
        case "suite":
            return _Suite(check.words, network=network, shared=shared)
        case "command":
            return _Command(check.words)
    return _Import()


def tried(
    check_runner: CheckRunner, combo: Combo, environment: Environment, limits: Limits, attempt: Callable[[], Ended]
) -> Result:
    """Return the result of a check, which ``attempt()`` makes, unless what was installed is not what was asked for."""
    for wheel, (package, version) in zip(_own_wheels(combo, environment), combo.releases, strict=True):
        if problem := _known_problem(wheel.root, package, version):
            return Result(combo.ordinal, Verdict(Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA, problem))
    return check_runner.result(combo, environment, attempt(), limits)


class _Program:
    """What a check is unless it says otherwise: a program alone, with nothing to import warm, to fork or to compile."""

    def modules(self, combo: Combo, environment: Environment) -> tuple[str, ...]:
        return ()

    def zygotes(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits, variables: Mapping[str, str]
    ) -> tuple[Zygote, ...]:
        return ()

    def rewriting(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> tuple[str, ...]:
        return ()

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        return ()


class _Import(_Program):
    """The import of all public modules of the release, in a cross of those of all releases, in their order."""

    warm, streams = True, False

    def modules(self, combo: Combo, environment: Environment) -> tuple[str, ...]:
        return tuple(module for wheel in _own_wheels(combo, environment) for module in wheel.modules)

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        modules = self.modules(combo, environment)
        return (composed.python, "-c", cold_code(modules), CHECK_IMPORT, RESULT, NONCE, *modules)

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        kind, *fields = ended.result.split(b"\0")
        names = fields[1] if kind == b"warm" and len(fields) == 4 else b""
        return _below(tops, map(os.fsdecode, names.split(b"\n")))

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        verdict, trace, peak_rss = import_verdict(ended, limits, self.modules(combo, environment))
        output = "" if verdict.outcome is Outcome.PASSED else _failure_text(ended.output, trace)
        return _measured(combo, ended, verdict, output, peak_rss=peak_rss)


HARNESS = (
    '(lambda own, file: exec(compile(file.read(), "<string>", "exec"), own) or file.close() or own["check"]())'
    '({}, open(__import__("sys").argv[1], "rb"))'
)
"""Loads the harness, and leaves no name of it behind."""


def cold_code(modules: Sequence[str]) -> str:
    """Return the code that imports modules as ``python -c`` does, within the harness; see child/check_import.py."""
    statements = [f"import {module}" for module in modules] or ["pass"]
    return "\n ".join([f"with {HARNESS}:", *statements])


class _Command(_Program):
    """A program of the environment, or of the system, which is to end with exit status 0."""

    warm, streams = False, False

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        return (ENV, found_program(composed.prefix, self._words[0]), *self._words[1:])

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        verdict = ended_badly(ended, limits, Phase.TEST) or _command_verdict(ended)
        return _measured(combo, ended, verdict, ended.output[-FAILURE_TEXT:])


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


class _Suite(_Program):
    """A test suite that lies in the working directory, run by the environment's own pytest."""

    warm, streams = False, True

    def __init__(self, words: Sequence[str], *, network: bool, shared: bool) -> None:
        self._words = words
        self._network = network
        self._shared = shared

    def _words_for(self, environment: Environment) -> tuple[str, ...]:
        """Return what pytest is asked for; who names packages gets them, and no others."""
        return (*(() if PYARGS in self._words else environment.suite), *self._words)

    def program(self, combo: Combo, environment: Environment, composed: Composed) -> tuple[str, ...]:
        words = self._words_for(environment)
        return (composed.python, "-u", CHECK_SUITE, RESULT, NONCE, ":".join(composed.traced), *words)

    def zygotes(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits, variables: Mapping[str, str]
    ) -> tuple[Zygote, ...]:
        def program(hook: str) -> tuple[str, ...]:
            return (composed.python, "-u", CHECK_SUITE, RESULT, "zygote", hook, *self._words_for(environment))

        packages = [package for package, _ in combo.releases]
        return zygotes_of(packages, environment, composed, limits, program, variables, begun=self._shared)

    def rewriting(self, combo: Combo, environment: Environment, composed: Composed, limits: Limits) -> tuple[str, ...]:
        if mentions(REWRITES_OTHERWISE, self._words, environment):
            return ()
        zygotes = self.zygotes(combo, environment, composed, limits, NONE)
        return zygotes[-1].layers if zygotes else ()

    def sources(self, ended: Ended, tops: tuple[str, ...]) -> tuple[str, ...]:
        return _below(tops, suite_sources(ended.result))

    def result(self, combo: Combo, environment: Environment, ended: Ended, limits: Limits) -> Result:
        verdict, tests, peak_rss = suite_verdict(ended, limits, network=self._network)
        output = "" if verdict.outcome is Outcome.PASSED else ended.output[-FAILURE_TEXT:]
        return _measured(combo, ended, verdict, output, peak_rss=peak_rss, tests=tests)


def _measured(
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


def _below(tops: tuple[str, ...], names: Iterable[str]) -> tuple[str, ...]:
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
