"""Entries of the cache: what belongs to one, when it was used, what it takes on the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.common.cache_folders import FOLDERS, entry_of, last_use, list_entries, mark_used

OLD = 1_000_000_000


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("wheels/ab/abc-4/purelib/x.py", "wheels/ab/abc-4"),
        ("wheels/refused/abc", "wheels/refused/abc"),
        ("layers/abc/lib/x", "layers/abc"),
        ("locks/ab/abc/pylock.toml", "locks/ab/abc"),
        ("builds/abc/x.whl", "builds/abc"),
        ("builds/sdists/abc/x.tar.gz", "builds/sdists/abc/x.tar.gz"),
        ("builds/environments/abc/bin/python", "builds/environments/abc"),
        ("builds/requirements/abc.json", "builds/requirements/abc.json"),
        ("base.git/objects/x", "base.git"),
        ("pycache/usr/lib/x.pyc", "pycache/usr/lib/x.pyc"),
        ("staging/1-2/x", "staging/1-2/x"),
    ],
)
def test_entry_of(path: str, entry: str) -> None:
    """A path belongs to the entry that is made and removed as a whole."""
    assert entry_of("/c", f"/c/{path}") == f"/c/{entry}"


def test_entry_of_other_places() -> None:
    """What lies elsewhere is no entry of the cache."""
    assert entry_of("/c", "/cache/wheels/ab/abc/x") == "/cache/wheels/ab/abc/x"


def made(path: Path, size: int = 0) -> Path:
    """Make a file that was used long ago, in a directory that was, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    for one in (path, path.parent):
        os.utime(one, (OLD, OLD))
    return path


def test_use_is_noted(cache: Cache) -> None:
    """A directory was used when it is looked for; a file keeps the time at which it was made."""
    entry, page = made(cache.wheels / "ab" / "abc-4" / "wheel.json").parent, made(cache.builds / "requirements" / "x")
    before = time.time_ns()
    assert last_use(str(entry)) == last_use(str(page)) == OLD * 1_000_000_000
    assert cache.use(entry / "wheel.json", page)
    assert last_use(str(entry)) >= before
    assert last_use(str(page)) >= before
    assert page.stat().st_mtime == (entry / "wheel.json").stat().st_mtime == OLD


def test_what_is_missing_is_not_used(cache: Cache) -> None:
    """Neither a missing entry nor a missing part of one is there."""
    made(cache.wheels / "ab" / "abc-4" / "wheel.json")
    assert not cache.use(cache.wheels / "ab" / "other-4")
    assert not cache.use(cache.wheels / "ab" / "abc-4" / "other")
    assert cache.use()


def test_cache_by_another_name(tmp_path: Path, cache: Cache) -> None:
    """A path that leads to the cache by a link is used as well; what lies elsewhere is only looked for."""
    entry = made(cache.layers / "abc" / "x").parent
    (tmp_path / "link").symlink_to(cache.root)
    before = time.time_ns()
    assert mark_used(str(tmp_path / "link"), str(entry))
    assert last_use(str(entry)) >= before
    elsewhere = made(tmp_path / "elsewhere" / "x")
    assert cache.use(elsewhere)
    assert elsewhere.stat().st_atime == OLD


def test_made_is_used(cache: Cache) -> None:
    """What is made, and what was found made, was used, however old its files are."""
    target, old = cache.builds / "projects" / "abc" / "x.tar.gz", made(cache.root / "old")
    for _ in range(2):
        before = time.time_ns()
        cache.file(target, lambda staging: os.link(old, staging))
        assert last_use(str(target)) >= before


def test_entries_are_listed(cache: Cache) -> None:
    """Every folder's entries are found, those that others depend on first."""
    paths = {
        "wheels": "wheels/ab/abc-4/wheel.json",
        "builds/sdists": "builds/sdists/abc/x.tar.gz",
        "builds/projects": "builds/projects/abc/x.tar.gz",
        "builds/stand-ins": "builds/stand-ins/abc/x.whl",
        "builds": "builds/abc/build.json",
        "builds/requirements": "builds/requirements/abc.json",
        "builds/environments": "builds/environments/abc/pyvenv.cfg",
        "locks": "locks/ab/abc/pylock.toml",
        "trees": "trees/abc/x",
        "layers": "layers/abc/x",
        "environments": "environments/x.json",
        "base.git": "base.git/HEAD",
        "interpreters": "interpreters/x.json",
        "index": "index/x.json",
        "pycache": "pycache/usr/x.pyc",
    }
    assert paths.keys() == FOLDERS.keys()
    for path in paths.values():
        made(cache.root / path, 5000)
    found = list_entries(str(cache.root))
    assert [entry.folder for entry in found] == list(reversed(FOLDERS))
    assert {entry.folder: entry.path for entry in found} == {
        folder: entry_of(str(cache.root), f"{cache.root}/{path}") for folder, path in paths.items()
    }
    assert all(8192 <= entry.size <= 16384 for entry in found), "a file, and in most a directory"


def test_links_count_once(cache: Cache) -> None:
    """A file that a layer has of a wheel counts for the wheel, which was used whenever the layer was."""
    file = made(cache.wheels / "ab" / "abc-4" / "big.py", 1 << 20)
    layer = cache.layers / "abc"
    layer.mkdir(parents=True)
    os.link(file, layer / "big.py")
    wheel, other = list_entries(str(cache.root))
    assert (wheel.folder, other.folder, other.shares) == ("wheels", "layers", {wheel})
    assert other.size < 10_000 < 1 << 20 <= wheel.size < 1_100_000
    assert wheel.used == other.used == layer.stat().st_mtime_ns
