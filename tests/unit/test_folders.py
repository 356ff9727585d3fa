"""Where tests lie: the folder says what a test needs, and its mark is the folder's name."""

from __future__ import annotations

from pathlib import Path

import pytest

import pytest_spip
from tests.conftest import LONGEST

TESTS = Path(__file__).parents[1]
KINDS = {"unit", "integration", "e2e", "hostile"}
PACKAGE = Path(pytest_spip.__file__).parent


def folders(root: Path) -> set[str]:
    """Return the names of a directory's packages."""
    return {path.parent.name for path in root.glob("*/__init__.py")}


def test_every_test_has_a_kind() -> None:
    """Each file of tests lies below a folder whose name is a mark."""
    kinds = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    assert kinds == KINDS


def test_unit_tests_lie_by_the_package() -> None:
    """The folders of unit tests have the names of the package's; nothing lies deeper."""
    assert folders(TESTS / "unit") <= folders(PACKAGE)
    assert not list((TESTS / "unit").glob("*/*/test_*.py"))


def test_folders_are_packages() -> None:
    """Every folder of tests is a package, so that two files may have one name."""
    assert [path for path in TESTS.rglob("test_*.py") if not (path.parent / "__init__.py").exists()] == []


def test_kind_is_a_mark(request: pytest.FixtureRequest) -> None:
    """A test is marked with its folder's name, and with no other's."""
    assert {mark.name for mark in request.node.iter_markers()} & KINDS == {"unit"}


def test_long_files_exist() -> None:
    """The files that workers begin with are files of tests."""
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
