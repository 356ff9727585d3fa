"""Runs ``pytest --spip-matrix`` as a user does and reads its JSON report (schema 1)."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Combination", "Matrix", "Report", "Unmeasurable", "environment", "matrix_of", "options", "run"]

PYPI = "https://pypi.org/simple/"


class Unmeasurable(Exception):
    """There is nothing to measure: says why, or how the output of pytest ends."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """What to run: packages, the values of the options of pytest-spip (empty for its default), xdist workers."""

    packages: tuple[str, ...]
    python: str
    versions: str
    exclude_newer: str
    index_url: str
    workers: int

    def arguments(self, report: Path) -> list[str]:
        """Return the command line."""
        given = {"python": self.python, "versions": self.versions, "exclude-newer": self.exclude_newer}
        return [
            *(f"--spip-matrix={package}" for package in self.packages),
            *(f"--spip-{option}={value}" for option, value in given.items() if value),
            f"--spip-report=json:{report}",
            f"-n{self.workers}",
            "-q",
        ]


@dataclasses.dataclass(frozen=True)
class Combination:
    """One combination of the report; ``path`` is its interpreter, ``None`` when that is not installed."""

    id: str
    package: str
    version: str
    path: Path | None
    outcome: str
    phase: str
    reason: str
    detail: str

    def __str__(self) -> str:
        """Return the verdict in one line."""
        return " ".join(filter(None, [self.id, self.outcome, self.phase, self.reason, self.detail]))


@dataclasses.dataclass(frozen=True)
class Report:
    """The JSON report, and ``wall``: the seconds that the whole command took."""

    combinations: tuple[Combination, ...]
    per_second: float
    work: Mapping[str, int]
    wall: float


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
    return parser


def matrix_of(arguments: argparse.Namespace) -> Matrix:
    """Return the matrix that the options ask for."""
    return Matrix(
        packages=tuple(arguments.packages),
        python=arguments.python,
        versions=arguments.versions,
        exclude_newer=arguments.exclude_newer,
        index_url=arguments.index_url,
        workers=arguments.workers,
    )


def environment(index_url: str) -> dict[str, str]:
    """Return our environment with one index in it: the user's others would answer one tool and not the other."""
    ours = {name: value for name, value in os.environ.items() if not _chooses_index(name)}
    return {**ours, "UV_DEFAULT_INDEX": index_url, "UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull}


def _chooses_index(name: str) -> bool:
    """Tell whether the variable makes uv or pip look for packages elsewhere."""
    return name.startswith(("UV_", "PIP_")) and ("INDEX" in name or "FIND_LINKS" in name)


def run(matrix: Matrix, directory: Path) -> Report:
    """Run the matrix below the directory; raises :class:`Unmeasurable` when there is no report."""
    report, log = directory / "report.json", directory / "pytest.log"
    report.unlink(missing_ok=True)
    started = time.perf_counter()
    with log.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "pytest", f"--rootdir={directory}", *matrix.arguments(report)],
            cwd=directory,
            env=environment(matrix.index_url),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    wall = time.perf_counter() - started
    if not report.exists():
        raise Unmeasurable(log.read_text(encoding="utf-8", errors="replace")[-4000:])
    return _read(json.loads(report.read_text(encoding="utf-8")), wall)


def _read(plain: Mapping[str, Any], wall: float) -> Report:
    """Return the report's parts that are measured."""
    paths = {each["id"]: each.get("path") for each in plain["interpreters"]}
    return Report(
        combinations=tuple(_combination(each, paths.get(each["interpreter"])) for each in plain["combinations"]),
        per_second=plain["summary"].get("per_second") or 0.0,
        work=plain["summary"].get("work", {}),
        wall=wall,
    )


def _combination(plain: Mapping[str, Any], path: str | None) -> Combination:
    """Return one combination."""
    return Combination(
        id=plain["id"],
        package=plain["package"],
        version=plain["version"],
        path=Path(path) if path else None,
        outcome=plain["outcome"],
        phase=plain.get("phase") or "",
        reason=plain.get("reason") or "",
        detail=plain.get("detail") or "",
    )
