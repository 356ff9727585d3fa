"""Command lines that are refused: one line that names the option and the fix, before anything is created."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.plan.interpreters import parse_wanted
from pytest_spip.plan.matrix import check_cross, parse_requirement
from pytest_spip.plan.versions import parse_policy
from tests.support.command_lines import parsed

GOOD = "--spip-matrix=good"
CASES: dict[str, tuple[Sequence[str], str, Sequence[str]]] = {  # arguments, option, what the line says
    "url": (["--spip-matrix=good @ http://127.0.0.1/x"], "--spip-matrix", ["is a URL", "name a project"]),
    "no-at-file": (["--spip-matrix=@no.txt"], "--spip-matrix", ["no.txt", "No such file", "one requirement a line"]),
    "at-binary": (["--spip-matrix=@binary"], "--spip-matrix", ["not UTF-8", "one requirement a line"]),
    "python-typo": ([GOOD, "--spip-python=3.11x"], "--spip-python", ["'3.11x'", "write 3.12"]),
    "python-range": ([GOOD, "--spip-python=3.13-3.9"], "--spip-python", ["'3.13-3.9' is no range", "write it like"]),
    "cross-alone": ([GOOD, "--spip-cross"], "--spip-cross", ["good meets no other", "second --spip-matrix"]),
    "pairwise-alone": ([GOOD, "--spip-versions=pairwise"], "--spip-versions", ["'pairwise'", "add --spip-cross"]),
    "memory": ([GOOD, "--spip-memory=lots"], "--spip-memory", ["'lots'", "512MiB"]),
    "profile": ([GOOD, "--spip-profile=fast"], "--spip-profile", ["'fast'", "conservative, balanced, max"]),
    "slots": ([GOOD, "--spip-slots=gpu:0"], "--spip-slots", ["'gpu:0'", "gpu:2 for two"]),
    "stats": ([GOOD, "--spip-stats=often"], "--spip-stats", ["'often'", "10:stats.jsonl"]),
    "run": ([GOOD, "--spip-run=../up"], "--spip-run", ["'../up'", "use letters"]),
    "date": ([GOOD, "--spip-exclude-newer=yesterday"], "--spip-exclude-newer", ["'yesterday'", "2026-11-01"]),
}


def read(config: pytest.Config, arguments: Sequence[str], base: Path) -> None:
    """Read a command line as far as a session does before it looks for programs, indexes and interpreters."""
    settings = parsed(config, arguments, base)
    requirements = [parse_requirement(text) for text in settings.matrix]
    parse_wanted(settings.python)
    check_cross(requirements, parse_policy(settings.versions), cross=settings.cross)


@pytest.mark.parametrize("name", CASES)
def test_one_line(pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The problem is told in one line that names the option, what is wrong and what mends it; nothing is created."""
    arguments, option, words = CASES[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageProblem) as problem:
        read(pytestconfig, arguments, tmp_path)
    (line,) = str(problem.value).splitlines()
    assert line.startswith(f"{option}: ")
    assert [word for word in words if word not in line] == [], line
    assert [path.name for path in tmp_path.iterdir()] == ["binary"]
