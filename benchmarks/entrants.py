"""The project's commits as entrants of a race: the working tree, and others beside it, each with caches of its own."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import accounts, matrix
from benchmarks.commands import environment

__all__ = ["ALONE", "Entrant", "Spent", "entrants", "plain_pytest"]

ALONE = ("-p", "no:hypothesispytest")
"""What a developer's environment adds to pytest, and a user's has not."""
ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Spent:
    """A whole command: elapsed seconds, and CPU seconds of all its processes; ``report`` is what ours wrote."""

    wall: float
    cpu: float
    report: matrix.Report | None = None


@dataclasses.dataclass(frozen=True)
class Entrant:
    """One commit of the project: its name, where its tree lies (``None`` for the one at hand), and its own directory."""

    name: str
    tree: Path | None
    directory: Path

    def entered(self, asked: matrix.Matrix, purpose: str) -> matrix.Matrix:
        """Return the matrix as this entrant runs it; a purpose has its own cache."""
        variables = {"PYTHONPATH": str(self.tree)} if self.tree else {}
        more = (f"--spip-cache={self.directory / purpose / 'cache'}",)
        uv = str(self.directory / purpose / "uv")
        return dataclasses.replace(
            asked, more=(*asked.more, *more), variables={**asked.variables, **variables, "UV_CACHE_DIR": uv}
        )

    def run(self, asked: matrix.Matrix, purpose: str) -> Spent:
        """Run the matrix in this entrant's directory."""
        report, cpu = accounts.with_cpu(
            lambda: matrix.run(self.entered(asked, purpose), self.directory / purpose / "runs")
        )
        return Spent(report.wall, cpu, report)


def entrants(commits: Sequence[str], directory: Path) -> list[Entrant]:
    """Return the tree at hand, and the named commits of this repository."""
    ours = [Entrant("this tree", None, directory / "this")]
    for number, commit in enumerate(commits):
        tree = directory / f"tree{number}"
        done = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
        if done.returncode:
            raise matrix.Unmeasurable(f"--beside {commit}: {done.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(tree, filter="data")
        ours.append(Entrant(commit, tree, directory / f"beside{number}"))
    return ours


def plain_pytest(directory: Path, workers: int) -> Spent:
    """Run pytest with workers and without the plugin, on one empty test."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "test_empty.py").write_text("def test_empty(): pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", f"--rootdir={directory}", "-q", f"-n{workers}", "-p", "no:spip", *ALONE]
    before = time.perf_counter()
    done, cpu = accounts.with_cpu(
        lambda: subprocess.run(command, cwd=directory, env=environment(matrix.PYPI), capture_output=True, check=False)
    )
    if done.returncode:
        raise matrix.Unmeasurable(done.stdout.decode(errors="replace")[-2000:])
    return Spent(time.perf_counter() - before, cpu)
