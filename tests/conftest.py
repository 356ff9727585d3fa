"""Marks by folder, and machines for end-to-end tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_spip.common.cache import Cache
from pytest_spip.hosts.server import PostgresServer
from pytest_spip.run.levels import try_level
from tests.support.distributions import wheel
from tests.support.index import LocalIndex
from tests.support.machine import Machine
from tests.support.plugins import Plugins
from tests.support.postgres import databases, server

MakeMachine = Callable[..., Machine]
HERE = Path(__file__).parent
LONGEST = (
    "integration/test_zygotes.py",
    "hostile/test_corpus.py",
    "integration/hosts/test_queue_history.py",
    "e2e/test_resilience.py",
    "e2e/test_resume.py",
    "e2e/test_functions.py",
    "e2e/test_interrupts.py",
    "e2e/test_project_matrix.py",
    "e2e/test_edge.py",
    "e2e/test_network.py",
    "e2e/test_plugins.py",
    "integration/test_import_check.py",
    "e2e/test_local.py",
    "e2e/test_worlds.py",
    "e2e/test_examples.py",
    "e2e/test_configuration.py",
    "e2e/test_bad_input.py",
    "integration/test_trials.py",
)
"""Files that take longest, with which workers begin, lest one of them is alone with the last for minutes."""


@pytest.hookimpl(tryfirst=True)  # before "-m" selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its folder's name: unit, integration, e2e, hostile. Put long files first for workers."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(item.path.relative_to(HERE).parts[0])
    if "PYTEST_XDIST_WORKER" in os.environ:
        order = {HERE / name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path, len(order)))


@contextlib.contextmanager
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeMachine]:
    """Yield a function that makes machines, each with an index of its own; keywords go to the index."""
    with contextlib.ExitStack() as stack:

        def make(**index: object) -> Machine:
            root = tmp_path_factory.mktemp("machine")
            files = root / "files"
            files.mkdir()
            served = stack.enter_context(LocalIndex(files, **index))  # type: ignore[arg-type]
            return stack.enter_context(contextlib.closing(Machine(root, files, served)))

        yield make


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have one machine meet the interpreters, once for all machines of all workers that learn from it; return its root."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "known"
    with FileLock(f"{place}.lock"):
        if not place.exists():
            place.write_text(str(_meet(tmp_path_factory)), "utf-8")
    return Path(place.read_text("utf-8"))


def _meet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a machine that has met the interpreters."""
    with machines(tmp_path_factory) as make:
        machine = make()
        wheel(machine.files, "primer", "1", {"primer.py": ""})
        assert machine.run("--spip-matrix=primer").status == 0
        assert list(machine.cache.glob("interpreters/closures-*")), "every session would look for them again"
        return machine.root


@pytest.fixture(scope="module")
def make_machine(tmp_path_factory: pytest.TempPathFactory, known: Path) -> Iterator[MakeMachine]:
    """Make machines that know the interpreters, or nothing at all, and serve their indexes to the module's end."""
    with machines(tmp_path_factory) as make:

        def make_knowing(*, knows: bool = True, **index: object) -> Machine:
            machine = make(**index)
            if knows:
                machine.learn(known)
            return machine

        yield make_knowing


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    """Make a machine of the test's own."""
    return make_machine()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run one PostgreSQL for all tests of a worker; a test that disturbs the server starts one of its own."""
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of an empty database, on each engine; that of PostgreSQL holds the password."""
    if request.param == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('tmp_path')}/shared.sqlite"
    else:
        with databases(request.getfixturevalue("postgres")) as address:
            yield address


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Plugins:
    """Fetch plugins of pytest, each when it is asked for first."""
    return Plugins(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(params=[3, 2])
def level(request: pytest.FixtureRequest) -> int:
    """Return a level of the sandbox that confines, where it works."""
    level: int = request.param
    if why := try_level(level):
        assert os.environ.get("SPIP_MUST_WORK") != "1", why
        pytest.skip(why)
    return level


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache."""
    return Cache(tmp_path / "cache")
