"""Resolutions: asked for once, kept with their failures."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.errors import HarnessProblem, NetworkProblem
from pytest_spip.model import Reason
from pytest_spip.provision.locks import Lock, LockResolver, selected
from pytest_spip.provision.resolver import BuiltWheel
from pytest_spip.provision.uv_output import Failure
from tests.support.distributions import wheel
from tests.support.index import Fault, LocalIndex
from tests.support.supply import Supply

DAY = 86400.0


@pytest.fixture
def supply(supply: Supply) -> Supply:
    """Make a world in which ``demo`` needs ``dep``."""
    wheel(supply.root / "files", "demo", "1.0", {"demo.py": ""}, requires=["dep"])
    release(supply.index, "1.0")
    return supply


def release(index: LocalIndex, version: str) -> None:
    """Upload a release of ``dep``."""
    wheel(index._directory, "dep", version, {"dep.py": ""})


def lock(supply: Supply, lock_resolver: LockResolver | None = None) -> Lock:
    """Lock ``demo`` for the running interpreter."""
    return (lock_resolver or supply.lock_resolver()).lock(("demo==1.0",), supply.here())


def chosen(supply: Supply, lock: Lock) -> dict[str, str]:
    """Return name and version of what a lock selects for the running interpreter."""
    return {item.name: item.file.version for item in selected(lock.text, supply.here())}


def age(supply: Supply) -> None:
    """Make all resolutions older than they are good for."""
    for place in supply.cache.locks.glob("*/*/*"):
        os.utime(place, (time.time() - DAY - 60,) * 2)


def test_lock(supply: Supply) -> None:
    """A lock is a pylock.toml that pins everything, and is kept in the cache."""
    locked = lock(supply)
    assert (locked.fresh, locked.path.name, locked.path.read_text()) == (True, "pylock.toml", locked.text)
    assert chosen(supply, locked) == {"demo": "1.0", "dep": "1.0"}


def test_lock_is_kept(supply: Supply) -> None:
    """Who asks again gets the same lock, and nobody is asked for it."""
    first = lock(supply)
    asked = list(supply.index.requests)
    release(supply.index, "2.0")
    second = lock(supply)
    assert (second.fresh, second.text) == (False, first.text)
    assert asked == supply.index.requests


def test_racing_threads(supply: Supply) -> None:
    """However many ask at the same time, uv is asked once."""
    lockers = [supply.lock_resolver() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        locks = list(pool.map(lambda lock_resolver: lock(supply, lock_resolver), lockers))
    assert sorted(each.fresh for each in locks) == [False, False, False, True]
    assert len({each.text for each in locks}) == 1


def test_no_solution_is_kept(supply: Supply) -> None:
    """That there is no solution is kept as well."""
    (supply.files / "dep-1.0-py3-none-any.whl").unlink()
    failures = []
    for _ in range(2):
        with pytest.raises(Failure) as failure:
            lock(supply)
        failures.append((failure.value.verdict, failure.value.output, len(supply.index.requests)))
    assert failures[0] == failures[1]
    assert failures[0][0].reason is Reason.NO_SOLUTION


def test_network_failure_is_not_kept(supply: Supply) -> None:
    """An index that could not be reached is asked again."""
    page = supply.index.page_path("dep")
    supply.index.inject(page, Fault(status=500))
    with pytest.raises(NetworkProblem):
        lock(supply)
    supply.index.inject(page, Fault())
    assert lock(supply).fresh


def test_stale_lock_is_renewed(supply: Supply) -> None:
    """After a day the dependencies' new releases count."""
    lock(supply)
    release(supply.index, "2.0")
    age(supply)
    renewed = lock(supply)
    assert (renewed.fresh, chosen(supply, renewed)["dep"]) == (True, "2.0")
    assert not lock(supply).fresh


def test_stale_failure_is_renewed(supply: Supply) -> None:
    """After a day a missing dependency may have appeared."""
    (supply.files / "dep-1.0-py3-none-any.whl").unlink()
    with pytest.raises(Failure):
        lock(supply)
    release(supply.index, "2.0")
    age(supply)
    assert chosen(supply, lock(supply))["dep"] == "2.0"


def test_stale_lock_of_an_index_out_of_reach(supply: Supply) -> None:
    """An old lock is better than none, and is renewed as soon as that is possible."""
    lock(supply)
    release(supply.index, "2.0")
    age(supply)
    supply.index.inject(supply.index.page_path("dep"), Fault(status=500))
    old = lock(supply)
    assert (old.fresh, chosen(supply, old)["dep"]) == (False, "1.0")
    supply.index.inject(supply.index.page_path("dep"), Fault())
    assert chosen(supply, lock(supply))["dep"] == "2.0"


def test_stale_lock_of_a_session_that_ends(supply: Supply) -> None:
    """A session that ends while it renews a lock leaves the old one where it was."""
    kept = lock(supply).path
    age(supply)
    uv = supply.uv()
    uv.stop()
    with pytest.raises(HarnessProblem):
        lock(supply, LockResolver(supply.cache, uv, supply.builder(uv=uv).resolver, supply.indexes(), "", 1))
    assert kept.exists()


def test_stale_lock_renewed_by_many(supply: Supply) -> None:
    """However many find a lock stale at the same time, one renews it."""
    lock(supply)
    release(supply.index, "2.0")
    age(supply)
    lockers = [supply.lock_resolver() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        locks = list(pool.map(lambda lock_resolver: lock(supply, lock_resolver), lockers))
    assert sorted(each.fresh for each in locks) == [False, False, False, True]
    assert {chosen(supply, each)["dep"] for each in locks} <= {"1.0", "2.0"}


@pytest.mark.parametrize(("date", "offline"), [("2030-01-01T00:00:00Z", False), ("", True)])
def test_lock_that_never_gets_stale(supply: Supply, date: str, offline: bool) -> None:
    """With a date, or offline, a lock of any age is as good as new."""
    for name in ("demo-1.0", "dep-1.0"):
        supply.index.add(supply.files / f"{name}-py3-none-any.whl", upload_time="2020-01-01T00:00:00Z")
    lock(supply, supply.lock_resolver(date=date))
    age(supply)
    assert not lock(supply, supply.lock_resolver(supply.indexes(offline=offline), date)).fresh


def test_what_a_lock_is_for(supply: Supply, tmp_path: Path) -> None:
    """Another date or another place is another lock; other credentials are not."""
    here, login = supply.index.url, supply.index.url.replace("//", "//user:secret@")
    for name in ("demo-1.0", "dep-1.0"):
        supply.index.add(supply.files / f"{name}-py3-none-any.whl", upload_time="2020-01-01T00:00:00Z")
    lockers = [
        supply.lock_resolver(supply.indexes(login)),
        supply.lock_resolver(supply.indexes(login.replace("secret", "other"))),
        supply.lock_resolver(supply.indexes(here), "2030-01-01T00:00:00Z"),
        supply.lock_resolver(supply.indexes(here, find_links=[tmp_path])),
    ]
    assert [lock(supply, lock_resolver).fresh for lock_resolver in lockers] == [True, False, True, True]
    assert not [path for path in supply.cache.locks.rglob("*.toml") if "secret" in path.read_text()]


def test_lock_of_a_wheel_built_here(supply: Supply, tmp_path: Path) -> None:
    """A wheel that was built here is locked by its hash, and another one is another lock."""
    hashes, texts = [], []
    for content in ("one", "two"):
        (tmp_path / content).mkdir()
        path = wheel(tmp_path / content, "own", "1.0", {"own.py": content})
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
        built = BuiltWheel(path, hashes[-1], supply.here().id, fresh=True)
        texts.append(supply.lock_resolver().lock(("own==1.0",), supply.here(), (built,)).text)
    assert [hashes[n] in texts[n] for n in (0, 1)] == [True, True]


def test_dependency_from_a_directory(supply: Supply, tmp_path: Path) -> None:
    """A dependency that a directory offers is selected by its path, with its hash."""
    (tmp_path / "links").mkdir()
    path = wheel(tmp_path / "links", "dep", "3.0", {"dep.py": ""})
    locked = lock(supply, supply.lock_resolver(supply.indexes(find_links=[tmp_path / "links"])))
    (dep,) = (item.file for item in selected(locked.text, supply.here()) if item.name == "dep")
    assert (dep.url, dep.sha256) == (path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())
