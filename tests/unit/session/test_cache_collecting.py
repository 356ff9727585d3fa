"""What is removed from the cache: the least recently used first, never what a running session uses, and always as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.common.cache_folders import CacheEntry, list_entries
from pytest_spip.errors import UsageProblem
from pytest_spip.session.cache_collecting import collect_cache, doomed_entries
from tests.support.machine import eventually

DAY = 86400.0
NEVER = float("inf")
COLLECT = """
import sys
from pathlib import Path
from pytest_spip.common.cache import Cache
from pytest_spip.session.cache_collecting import collect_cache

collect_cache(Cache(Path(sys.argv[1])), older=float("inf"), size=0)
"""


def entry(name: str, used: int, size: int = 10) -> CacheEntry:
    """Return an entry; ``used`` is in nanoseconds."""
    return CacheEntry("wheels", name, used, size)


@pytest.mark.parametrize(
    ("older", "size", "gone"),
    [
        (NEVER, NEVER, ""),
        (NEVER, 40, ""),
        (NEVER, 39, "a"),
        (NEVER, 20, "a c"),
        (NEVER, 0, "a c b"),
        (1e-9, NEVER, "a c b"),
        (3e-9, NEVER, "a"),
    ],
)
def test_doomed(older: float, size: float, gone: str) -> None:
    """The least recently used go, of two used at once the dependant first, until age and size are met; used ones stay."""
    entries = [entry("a", 1), entry("b", 2), entry("c", 2), entry("d", 4)]
    found = doomed_entries(entries, now=5, before=4, older=older, size=size)
    assert [one.path for one in found] == gone.split()


def filed(cache: Cache, name: str, days: float) -> Path:
    """File a wheel that was used last so many days ago."""
    target = cache.wheels / name[:2] / f"{name}-4"

    def make(path: Path) -> None:
        path.mkdir()
        (path / "x").write_bytes(b"x" * 4096)

    cache.file(target, make)
    aged(target, days)
    return target


def aged(path: Path, days: float) -> None:
    """Have an entry been used last so many days ago."""
    when = time.time() - days * DAY
    os.utime(path, (when, when))


def left(cache: Cache) -> list[str]:
    """Return the names of entries that are there."""
    return sorted(Path(one.path).name for one in list_entries(str(cache.root)))


def test_old_and_large_go(cache: Cache) -> None:
    """What is old goes, then what is too much; what was said to go is what goes, and a dry run removes nothing."""
    for name, days in (("a1", 40), ("b1", 3), ("c1", 2), ("d1", 1)):
        filed(cache, name, days)
    bound = 2 * 8192
    dry = collect_cache(cache, older=30 * DAY, size=bound, dry_run=True)
    assert left(cache) == ["a1-4", "b1-4", "c1-4", "d1-4"]
    done = collect_cache(cache, older=30 * DAY, size=bound)
    assert left(cache) == ["c1-4", "d1-4"]
    assert [one.path for one in done.gone] == [one.path for one in dry.gone]
    assert (len(done.stay), sum(one.size for one in done.stay), done.over) == (2, bound, 0)
    cache.release()  # the test's own
    assert list(cache.root.glob("staging/*")) == list(cache.guards.iterdir()) == []


def test_running_session_keeps_what_it_uses(cache: Cache) -> None:
    """What was used since the oldest session began stays, whatever the bound, and goes when the session has ended."""
    for name in ("a1", "b1"):
        filed(cache, name, 1)
    with_guards = len(list(cache.guards.iterdir()))
    lease = cache.lease()
    assert cache.use(cache.wheels / "a1" / "a1-4")
    done = collect_cache(cache, older=NEVER, size=0)
    assert left(cache) == ["a1-4"]
    assert done.over == done.stay[0].size > 0
    assert len(list(cache.guards.iterdir())) == with_guards > 0, "somebody may be about to take one"
    lease.release()
    aged(cache.wheels / "a1" / "a1-4", 1)
    collect_cache(cache, older=NEVER, size=0)
    assert left(cache) == []


def test_session_that_begins_meanwhile(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody comes to use after the cache was looked through stays, and others go for it."""
    target, _ = filed(cache, "a1", 2), filed(cache, "b1", 1)

    def listed(root: str) -> list[CacheEntry]:
        found = list_entries(root)
        assert cache.use(target)
        return found

    monkeypatch.setattr("pytest_spip.session.cache_collecting.list_entries", listed)
    done = collect_cache(cache, older=NEVER, size=8192)
    assert left(cache) == ["a1-4"]
    assert [Path(one.path).name for one in done.gone if one.folder == "wheels"] == ["b1-4"]
    assert ([one.path for one in done.stay], done.over) == ([str(target)], 0)


def test_rows_go_with_what_they_name(cache: Cache) -> None:
    """What is remembered of an entry that goes, or is gone, is forgotten, and a file is not used by that."""
    wheels = [filed(cache, name, days).name.partition("-")[0] for name, days in (("a1", 2), ("b1", 1))]
    lock = cache.locks / "aa" / "abc" / "pylock.toml"
    lock.parent.mkdir(parents=True)
    lock.touch()
    rows = {name: ["", 0.0, str(lock), [name], [], "", [], "", [], False] for name in (*wheels, "never")}
    names = ("demo", "lost", "damaged")
    cache.environments.mkdir()
    for name, text in zip(names, (json.dumps(rows), json.dumps({"x": rows["a1"]}), "{"), strict=True):
        (cache.environments / name).write_text(text)
        aged(cache.environments / name, 1)
    when = (cache.environments / "demo").stat().st_mtime_ns
    collect_cache(cache, older=1.5 * DAY, size=NEVER)
    assert json.loads((cache.environments / "demo").read_text()) == {"b1": rows["b1"]}
    assert (cache.environments / "demo").stat().st_mtime_ns == when
    assert sorted(os.listdir(cache.environments)) == ["damaged", "demo"]


def test_one_at_a_time(cache: Cache) -> None:
    """Two do not collect the same cache."""
    cache.root.mkdir()
    with cache.collector.exclusive(), pytest.raises(UsageProblem, match="another one is at work on"):
        collect_cache(cache, older=NEVER, size=0)


def test_empty_directories_go(cache: Cache) -> None:
    """No directory stays that an archive was alone in."""
    target = cache.builds / "sdists" / "abc" / "x.tar.gz"
    cache.file(target, lambda path: path.write_text("x"))
    aged(target, 1)
    collect_cache(cache, older=NEVER, size=0)
    assert os.listdir(cache.builds / "sdists") == []


@pytest.mark.parametrize("moment", [0, 1, 100, 250])
def test_killed(cache: Cache, moment: int) -> None:
    """Whenever it is killed, each entry is whole or gone; the next collection finishes the work and leaves nothing."""
    for number in range(300):
        target = cache.layers / str(number)
        target.mkdir(parents=True)
        for name in range(10):
            (target / str(name)).touch()
        aged(target, 1)

    def gone(count: int) -> Callable[[], bool]:
        return lambda: len(left(cache)) <= 300 - count

    with subprocess.Popen([sys.executable, "-c", COLLECT, cache.root]) as process:
        assert not moment or eventually(gone(moment), 30)
        process.kill()
    there = [Path(one.path) for one in list_entries(str(cache.root))]
    assert all(len(os.listdir(path)) == 10 for path in there)
    done = collect_cache(cache, older=NEVER, size=0)
    assert len([one for one in done.gone if one.folder == "layers"]) == len(there)
    assert left(cache) == []
    assert list(cache.root.glob("staging/*")) == []
