"""Runs ``pytest --spip-matrix`` as a user does and reads its JSON report (schema 1) and its run database."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import environment

__all__ = [
    "Combination",
    "Matrix",
    "Planned",
    "Report",
    "Unmeasurable",
    "database",
    "matrix_of",
    "one_package",
    "options",
    "planned",
    "read",
    "run",
    "started",
    "workplace",
]

PYPI = "https://pypi.org/simple/"
NOTHING = ("-k", "not spip")  # every item of a matrix has the keyword: all is done as ever, but no combination runs


class Unmeasurable(Exception):
    """There is nothing to measure: says why, or how the output of pytest ends."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """What to run: packages, the values of the options of pytest-spip (empty for its default), xdist workers.

    ``more`` are further arguments of pytest, ``variables`` of its environment.
    """

    packages: tuple[str, ...]
    python: str
    versions: str
    exclude_newer: str
    index_url: str
    workers: int
    more: tuple[str, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def arguments(self, report: Path) -> list[str]:
        """Return the command line."""
        given = {"python": self.python, "versions": self.versions, "exclude-newer": self.exclude_newer}
        return [
            *(f"--spip-matrix={package}" for package in self.packages),
            *(f"--spip-{option}={value}" for option, value in given.items() if value),
            f"--spip-report=json:{report}",
            f"-n{self.workers}",
            "-q",
            *self.more,
        ]

    def changed(self, *more: str, **variables: str) -> Matrix:
        """Return the same matrix with further arguments and environment variables."""
        return dataclasses.replace(self, more=(*self.more, *more), variables={**self.variables, **variables})

    def empty(self) -> Matrix:
        """Return the same matrix with no combination selected."""
        return self.changed(*NOTHING)

    def small(self) -> Matrix:
        """Return the same matrix over each package's newest release."""
        return dataclasses.replace(self, versions="1")


@dataclasses.dataclass(frozen=True)
class Planned:
    """One combination of the plan; ``path`` is its interpreter, ``None`` when that is not installed."""

    id: str
    package: str
    version: str
    interpreter: str
    path: Path | None


@dataclasses.dataclass(frozen=True)
class Combination(Planned):
    """One combination of the report; ``seconds`` and ``cpu_seconds`` are those of its run alone."""

    outcome: str
    phase: str
    reason: str
    detail: str
    runner: str
    seconds: float
    cpu_seconds: float
    output: str

    def __str__(self) -> str:
        """Return the verdict in one line."""
        return " ".join(filter(None, [self.id, self.outcome, self.phase, self.reason, self.detail]))

    @property
    def verdict(self) -> tuple[str, str, str]:
        """Outcome, phase and reason: what two runs must agree on."""
        return self.outcome, self.phase, self.reason


@dataclasses.dataclass(frozen=True)
class Report:
    """The JSON report, and ``wall``: the seconds that the whole command took.

    ``seconds`` are those in which combinations ran, ``phases`` those of each phase, in all processes together.
    """

    combinations: tuple[Combination, ...]
    per_second: float
    work: Mapping[str, int]
    wall: float
    seconds: float = 0.0
    phases: Mapping[str, float] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cpu_utilisation: float = 0.0
    iowait: float = 0.0
    controller: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def how(self) -> str:
        """How the combinations were run, in the words of the report."""
        names = ("runner", "sandbox", "ram")
        return ", ".join(f"{name} {self.facts[name]}" for name in names if self.facts.get(name) not in (None, ""))


def options(description: str, package: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of the options that say what to run.

    The default of ``--exclude-newer`` is now, so that all runs and tools of one measurement see the same index.
    """
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--packages", "--package", nargs="+", default=package, metavar="PACKAGE")
    parser.add_argument("--python", default="", help="as --spip-python: 3.9,3.10")
    parser.add_argument("--versions", default="", help="as --spip-versions: all or a number")
    parser.add_argument("--exclude-newer", default=now, metavar="DATE", help="the index as of that instant (now)")
    parser.add_argument("--index-url", default=PYPI, metavar="URL", help="the one index that everything reads")
    parser.add_argument("--workers", type=int, default=2, help="of each tool")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="keep runs and reports there (a temporary one)")
    parser.add_argument(
        "--pytest", nargs="+", default=(), metavar="ARG", help="write it so: --pytest=--spip-sandbox=off"
    )
    return parser


def one_package(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options for rivals that import one module: one package, ``--module`` and ``--rounds``."""
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--module", help="what to import (the package's name)")
    arguments = parser.parse_args(argv)
    if len(arguments.packages) != 1:
        parser.error("--package: one package only")
    arguments.module = arguments.module or arguments.packages[0].replace("-", "_")
    return arguments


def matrix_of(arguments: argparse.Namespace) -> Matrix:
    """Return the matrix that the options ask for."""
    return Matrix(
        packages=tuple(f"@{Path(one[1:]).absolute()}" if one.startswith("@") else one for one in arguments.packages),
        python=arguments.python,
        versions=arguments.versions,
        exclude_newer=arguments.exclude_newer,
        index_url=arguments.index_url,
        workers=arguments.workers,
        more=tuple(arguments.pytest),
    )


@contextlib.contextmanager
def workplace(arguments: argparse.Namespace) -> Iterator[Path]:
    """Yield the directory to work in, which goes at the end unless it was named."""
    if arguments.directory:
        arguments.directory.mkdir(parents=True, exist_ok=True)
        yield arguments.directory.absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as name:
            yield Path(name)


def started(matrix: Matrix, directory: Path) -> subprocess.Popen[bytes]:
    """Start pytest over the matrix in the directory, made if need be; its output goes to ``pytest.log`` there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").unlink(missing_ok=True)
    with (directory / "pytest.log").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", f"--rootdir={directory}", *matrix.arguments(directory / "report.json")],
            cwd=directory,
            env={**environment(matrix.index_url), **matrix.variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def run(matrix: Matrix, directory: Path) -> Report:
    """Run the matrix below the directory; raises :class:`Unmeasurable` when there is no report."""
    before = time.perf_counter()
    started(matrix, directory).wait()
    return read(directory, time.perf_counter() - before)


def read(directory: Path, wall: float) -> Report:
    """Return the report of a run that ended; raises :class:`Unmeasurable` when there is none."""
    try:
        plain = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        said = (directory / "pytest.log").read_text(encoding="utf-8", errors="replace")
        raise Unmeasurable(said[-4000:]) from None
    paths = {each["id"]: each.get("path") for each in plain["interpreters"]}
    summary = plain["summary"]
    return Report(
        combinations=tuple(_combination(each, paths.get(each["interpreter"])) for each in plain["combinations"]),
        per_second=summary.get("per_second") or 0.0,
        work=summary.get("work", {}),
        wall=wall,
        seconds=summary.get("seconds") or 0.0,
        phases=summary.get("phases", {}),
        facts=plain["run"],
        cpu_utilisation=summary.get("cpu_utilisation") or 0.0,
        iowait=summary.get("iowait") or 0.0,
        controller=summary.get("controller") or {},
    )


def _combination(plain: Mapping[str, Any], path: str | None) -> Combination:
    """Return one combination."""
    return Combination(
        id=plain["id"],
        package=plain["package"],
        version=plain["version"],
        interpreter=plain["interpreter"],
        path=Path(path) if path else None,
        outcome=plain["outcome"],
        phase=plain.get("phase") or "",
        reason=plain.get("reason") or "",
        detail=plain.get("detail") or "",
        runner=plain.get("runner") or "",
        seconds=plain.get("seconds") or 0.0,
        cpu_seconds=plain.get("cpu_seconds") or 0.0,
        output=plain.get("output") or "",
    )


def planned(matrix: Matrix, directory: Path) -> tuple[Planned, ...]:
    """Return the plan without running any of it; raises :class:`Unmeasurable` when there is none."""
    run(matrix.empty(), directory)
    query = "SELECT plan.*, path FROM plan JOIN interpreter ON interpreter.id = interpreter ORDER BY ordinal"
    return tuple(
        Planned(
            row["id"], row["package"], row["version"], row["interpreter"], Path(row["path"]) if row["path"] else None
        )
        for row in database(directory, query)
    )


def database(directory: Path, query: str) -> list[sqlite3.Row]:
    """Return what the database of the newest run below the directory answers."""
    path = directory / ".spip" / "latest" / "run.sqlite"
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query).fetchall()
