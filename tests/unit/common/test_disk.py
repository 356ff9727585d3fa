"""Shared state on disk: made once, never seen half-made; and debris of the dead."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache, open_cache
from pytest_spip.common.owners import owner_alive, owner_tag, sweep_dead
from pytest_spip.common.trees import remove_tree, replace_text
from pytest_spip.errors import UsageProblem
from tests.support.supply import NOBODY

RACER = """
import os, sys
from pathlib import Path
from pytest_spip.common.cache import Cache

cache, barrier = Cache(Path(sys.argv[1])), Path(sys.argv[2])

def make(path):
    path.mkdir()
    (path / "first").write_text("1")
    with open(barrier, "a") as log:
        log.write(f"{os.getpid()}\\n")
    (path / "last").write_text("2")

sys.stdin.read(1)  # all start together
made = cache.file(cache.wheels / "x", make)
print(made, sorted(os.listdir(cache.wheels / "x")))
cache.close()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Open a cache."""
    return open_cache(tmp_path / "cache")


def test_racing_processes(tmp_path: Path, cache: Cache) -> None:
    """Of several processes that want the same thing at once exactly one makes it, and all see it whole."""
    command = [sys.executable, "-c", RACER, str(cache.root), str(tmp_path / "log")]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    with contextlib.ExitStack() as stack:
        for racer in racers:
            stack.enter_context(racer)
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("x")
            racer.stdin.flush()
        said = [racer.communicate()[0].strip() for racer in racers]
    assert sorted(said) == ["False ['first', 'last']"] * 5 + ["True ['first', 'last']"]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_racing_threads(cache: Cache) -> None:
    """Of several threads that want the same thing at once exactly one makes it."""
    start, made = threading.Barrier(8), []

    def want(_: int) -> bool:
        start.wait()
        return cache.file(cache.wheels / "x", lambda path: made.append(path.write_text("x")))

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(want, range(8))) == [False] * 7 + [True]
    assert len(made) == 1


def test_failure_leaves_nothing(cache: Cache) -> None:
    """What could not be made is not there, not even in part, and the next one tries again."""

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.file(cache.wheels / "x", fail)
    assert not (cache.wheels / "x").exists()
    assert list(cache.staging.iterdir()) == []
    assert cache.file(cache.wheels / "x", lambda path: path.mkdir())


def test_stale_is_made_anew(cache: Cache) -> None:
    """What is stale is replaced, also where it is a directory with content."""
    target = cache.locks / "x"

    def make(path: Path) -> None:
        path.mkdir()
        (path / text).touch()

    for text in ("old", "new"):
        assert cache.file(target, make, stale=lambda _: True)
        assert os.listdir(target) == [text]


def test_stale_stays_where_no_better_is_to_be_had(cache: Cache) -> None:
    """What is stale stays until it is replaced: at no time is there nothing."""
    target = cache.locks / "x"
    cache.file(target, lambda path: path.mkdir())

    def fail(path: Path) -> None:
        assert target.exists()
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.file(target, fail, stale=lambda _: True)
    assert target.exists()


def test_read_waits_for_who_replaces(cache: Cache) -> None:
    """Who looks at the moment in which a thing is replaced sees the new one."""
    target = cache.locks / "x"
    looked = threading.Event()

    def load(path: Path) -> str:
        looked.set()
        return path.read_text()

    with ThreadPoolExecutor(1) as pool:
        with cache.guard(str(target)):
            reading = pool.submit(cache.read, target, load)
            assert looked.wait(30)
            target.parent.mkdir(parents=True)
            target.write_text("new")
        assert reading.result(30) == "new"


def test_read_of_nothing(cache: Cache) -> None:
    """What nobody has made is missing."""
    with pytest.raises(FileNotFoundError):
        cache.read(cache.locks / "x", Path.read_text)


def test_replace_text(tmp_path: Path) -> None:
    """A text replaces another, and one that cannot be written leaves the other and nothing beside it."""
    path = tmp_path / "deep" / "file.json"
    replace_text(path, "one")
    replace_text(path, "two")
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, "\ud800")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


# -- owners -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dead() -> str:
    """Return the tag of a process that is no more."""
    code = "from pytest_spip.common.cache import owner_tag; print(owner_tag())"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def test_owners(dead: str) -> None:
    """A living process is told from a dead one, and from an earlier one with its process number."""
    pid, _, started = owner_tag().partition("-")
    assert owner_alive(owner_tag())
    assert not owner_alive(dead)
    assert not owner_alive(f"{pid}-{int(started) - 1}")
    assert not any(owner_alive(text) for text in ("", "-", "x-1", pid, f"{pid}-", f"-{pid}"))


def test_sweep(tmp_path: Path, dead: str) -> None:
    """What dead owners left is removed, files and trees; what living ones work at, or others called otherwise, is not."""
    (tmp_path / dead / "deep").mkdir(parents=True)
    (tmp_path / dead / "deep" / "file").touch(mode=0o000)
    (tmp_path / f"{dead}-file").touch()
    kept = [tmp_path / name for name in (owner_tag(), "of-somebody", ".hidden")]
    for path in kept:
        path.mkdir()
    swept = sweep_dead(tmp_path)
    assert sorted(swept) == [tmp_path / dead, tmp_path / f"{dead}-file"]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_sweep_of_nothing(tmp_path: Path) -> None:
    """A directory that is not there needs no sweeping."""
    assert sweep_dead(tmp_path / "missing") == []


def test_cache_sweeps_when_it_is_opened(cache: Cache, dead: str) -> None:
    """Half-made things of dead processes are gone when a cache is opened again."""
    (cache.root / "staging" / dead / "half").mkdir(parents=True)
    with cache.workshop() as mine:
        open_cache(cache.root)
        assert mine.is_dir()
    assert not (cache.root / "staging" / dead).exists()


def test_cache_closes(cache: Cache) -> None:
    """A cache that is closed leaves no workshop behind, and may be closed twice."""
    with cache.workshop() as mine:
        mine.joinpath("file").touch()
    cache.close()
    cache.close()
    assert list((cache.root / "staging").iterdir()) == []


def test_cache_is_released(cache: Cache) -> None:
    """A part of a process that has done with the cache leaves alone what another part is making; an empty workshop goes."""
    with cache.workshop() as others:
        cache.release()
        assert others.exists()
    cache.release()
    cache.release()
    assert list((cache.root / "staging").iterdir()) == []


@pytest.mark.parametrize("place", ["file/cache", "file"])
def test_cache_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    """A cache that cannot be written is refused in words that name the option and the fix."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageProblem) as problem:
        open_cache(tmp_path / place)
    assert str(problem.value).startswith(f"--spip-cache: cannot write {tmp_path / place} (")
    assert str(problem.value).endswith("; name a writable directory with --spip-cache=DIR")


# -- removing -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield an empty directory, as a user whom permissions bind."""
    path = Path(tempfile.mkdtemp())
    mine = os.geteuid()
    if mine == 0:
        os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield path
    finally:
        os.seteuid(mine)
        shutil.rmtree(path)


def test_remove_what_is_read_only(place: Path) -> None:
    """A tree is removed though somebody took away our permission to write, to read and to enter."""
    for mode in (0o000, 0o400, 0o500, 0o600):
        inner = place / "tree" / f"{mode:o}" / "inner"
        inner.mkdir(parents=True)
        (inner / "file").touch(mode=0o400)
        inner.chmod(mode)
        inner.parent.chmod(mode)
    (place / "tree").chmod(0o500)
    remove_tree(place / "tree")
    assert list(place.iterdir()) == []


def test_remove_leaves_what_links_lead_to(place: Path) -> None:
    """A link is removed, and what it leads to keeps its content and its mode."""
    (place / "theirs").mkdir(mode=0o500)
    (place / "secret").touch(mode=0o600)
    (place / "tree").mkdir()
    (place / "tree" / "to-directory").symlink_to(place / "theirs")
    (place / "tree" / "to-file").symlink_to(place / "secret")
    (place / "tree").chmod(0o500)
    remove_tree(place / "tree")
    assert not (place / "tree").exists()
    assert (place / "theirs").stat().st_mode & 0o777 == 0o500
    assert (place / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["missing", "tree"])
def test_remove_does_not_touch_what_is_above(place: Path, name: str) -> None:
    """The directory above keeps its mode, whether there is something to remove, whether it can be removed."""
    (place / "tree").mkdir()
    place.chmod(0o555)
    remove_tree(place / name)
    assert place.stat().st_mode & 0o777 == 0o555
    place.chmod(0o700)


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_remove_what_is_no_tree(place: Path, kind: str) -> None:
    """A file or a link is removed as well, and a link's goal is not."""
    (place / "goal").mkdir()
    (place / "file").touch()
    (place / "link").symlink_to(place / "goal")
    (place / "dangling").symlink_to(place / "nowhere")
    remove_tree(place / kind)
    assert not os.path.lexists(place / kind)
    assert (place / "goal").is_dir()


def test_directory_of_other_things_is_no_cache(tmp_path: Path) -> None:
    """A session refuses a directory with a person's own files, and takes an empty or a known one."""
    (tmp_path / "builds").mkdir()
    with pytest.raises(UsageProblem, match="holds other files and is no cache"):
        open_cache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["builds"]
    (tmp_path / "interpreters").mkdir()
    open_cache(tmp_path).close()
    open_cache(tmp_path / "new").close()
    open_cache(tmp_path / "new").close()


def test_cache_is_opened_by_threads(tmp_path: Path) -> None:
    """Threads that open one cache at once do not take each other's probe away."""
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_cache(tmp_path / "cache"), range(400)))
    assert {cache.root for cache in opened} == {tmp_path / "cache"}
    opened[0].close()
