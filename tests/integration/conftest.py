"""What tests of several parts share: interpreters' base environments, and an index with a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.index import LocalIndex
from tests.support.rooms import Bases, adopting, shared_bases
from tests.support.supply import Supply


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Know every Python."""
    return shared_bases(tmp_path_factory.getbasetemp())


@pytest.fixture
def adopted() -> Iterator[None]:
    """Be a worker, who is given the orphans."""
    yield from adopting()


@pytest.fixture
def supply(tmp_path: Path) -> Iterator[Supply]:
    """Make a world with an empty index."""
    (tmp_path / "files").mkdir()
    with LocalIndex(tmp_path / "files") as index, contextlib.closing(Supply(tmp_path, index)) as supply:
        yield supply
