"""The user's project: packed once, read, and what is wrong with it told in one line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import UsageProblem
from pytest_spip.provision.needs import Needs
from pytest_spip.provision.project import Project, open_project
from pytest_spip.provision.wanted import Wanted
from tests.support.distributions import project, suite_metadata
from tests.support.supply import Supply

FILES = {"mine/__init__.py": "", "tests/test_mine.py": "def test_it():\n    pass\n"}
INSTALLS = ("mine/__init__.py",)
NONE: Mapping[str, str] = MappingProxyType({})


def written(supply: Supply, *, more: Mapping[str, str] = NONE, **options: object) -> Path:
    """Write a project with an extra and a group."""
    metadata = suite_metadata("My.Mine", "1.0", 'six; extra == "test"', extras=["test"], requires_python=">=3.8")
    given = {"metadata": metadata, "groups": 'dev = ["toml"]', **options}
    return project(supply.root / "mine", "My.Mine", "1.0", {**FILES, **more}, installs=INSTALLS, **given)  # type: ignore[arg-type]


def opened(supply: Supply, directory: Path, wanted: Wanted = Wanted(suite=True)) -> Project:  # noqa: B008  # frozen
    """Open a project by the running interpreter."""
    return open_project(directory, wanted, supply.here(), supply.cache, supply.uv())


def test_project(supply: Supply) -> None:
    """A project tells its name, version, Requires-Python and needs, and is seen as it is now."""
    one = opened(supply, written(supply))
    assert (one.name, one.version, one.sdist.requires_python) == ("my-mine", "1.0", ">=3.8")
    assert one.needs == Needs(("test",), ("toml",))
    assert (one.source / "tests" / "test_mine.py").is_file()
    assert one.sdist.url.startswith("file:")


def test_same_files_same_project(supply: Supply) -> None:
    """A project that is packed again is the same, whenever that is; another file makes another one."""
    directory = written(supply)
    first = opened(supply, directory)
    assert opened(supply, directory) == first
    (directory / "mine" / "__init__.py").write_text("x = 1\n")
    second = opened(supply, directory)
    assert first.sdist.sha256 != second.sdist.sha256
    assert first.identity != second.identity


def test_ignored_file_that_is_packed(supply: Supply) -> None:
    """What git ignores and the sdist holds nevertheless, as generated sources are, makes another project too."""
    directory = written(supply, more={"made.py": "x = 1\n", ".gitignore": "made.py\n"})
    subprocess.run(["git", "init", "-q", str(directory)], check=True)
    first = opened(supply, directory)
    (directory / "made.py").write_text("x = 2\n")
    second = opened(supply, directory)
    assert first.source == second.source
    assert first.identity != second.identity


def test_packed_debris(supply: Supply) -> None:
    """Runs and caches that a careless backend packs make no other project."""
    directory = written(supply, more={".spip/runs/a": "1"})
    first = opened(supply, directory)
    (directory / ".spip" / "runs" / "a").write_text("2")
    assert opened(supply, directory) == first


def test_plain(supply: Supply) -> None:
    """A project survives JSON, as long as its files are in the cache."""
    one = opened(supply, written(supply))
    plain = json.loads(json.dumps(one.to_plain()))
    assert Project.from_plain(plain, supply.cache) == one
    remove_tree(one.source)
    with pytest.raises(FileNotFoundError, match="no longer in the cache"):
        Project.from_plain(plain, supply.cache)


def test_nothing_is_left_in_the_project(supply: Supply) -> None:
    """Opening a project writes nothing into it but what its own backend does."""
    directory = written(supply)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if "__pycache__" not in path.parts}
    opened(supply, directory)
    after = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if "__pycache__" not in path.parts}
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    ("options", "wanted", "told"),
    [
        (
            {"unpacked": "no such header"},
            Wanted(),
            r"--spip-project: .*mine builds no sdist \(RuntimeError: no such header\)",
        ),
        ({"metadata": "Name: mine\n"}, Wanted(), "--spip-project: the sdist's PKG-INFO has no Version"),
        ({}, Wanted(extras=("docs",)), "--spip-extras: there is no extra 'docs'; there are test; name those"),
        ({}, Wanted(groups=("docs",)), "--spip-groups: there is no group 'docs'; there are dev; name those"),
        ({"groups": 'test = ["=>1"]'}, Wanted(), "--spip-project: pyproject.toml: dependency group 'test': "),
    ],
)
def test_bad_projects(supply: Supply, options: dict[str, object], wanted: Wanted, told: str) -> None:
    """What is wrong with a project is one line that names the option and the fix."""
    directory = written(supply, **options)  # type: ignore[arg-type]  # passed on
    with pytest.raises(UsageProblem, match=told) as caught:
        opened(supply, directory, wanted)
    assert "\n" not in str(caught.value)


def test_build_requirements_that_cannot_be_had(supply: Supply) -> None:
    """Build requirements that no index lists are told as uv tells them."""
    directory = written(supply)
    table = directory / "pyproject.toml"
    table.write_text(table.read_text().replace("requires = []", 'requires = ["absent"]'))
    with pytest.raises(UsageProblem, match="absent was not found"):
        opened(supply, directory)
