"""Where worktrees live: which place is taken, which is refused, and whose debris goes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_spip.common.owners import owner_tag
from pytest_spip.common.trees import remove_tree
from pytest_spip.compose import ram
from pytest_spip.compose.ram import Root, choose_root, discard, is_tmpfs, short_directory, sweep
from pytest_spip.errors import UsageProblem
from tests.support.machine import eventually

OWN = f"pytest-spip-{os.getuid()}"
SHM = Path("/dev/shm")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a directory the one for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def kind_of(place: Path) -> str:
    """Return what stat(1) calls the place's file system."""
    told = subprocess.run(["stat", "-f", "-c", "%T", str(place)], capture_output=True, text=True, check=True)
    return "tmpfs" if told.stdout.strip() in ("tmpfs", "ramfs") else "disk"


# -- choosing -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not is_tmpfs(SHM), reason="this machine has no tmpfs at /dev/shm")
def test_auto_takes_a_tmpfs() -> None:
    """A tmpfs with room is taken: a private directory that names this process."""
    root = choose_root("auto", {})
    try:
        assert root == Root(SHM / OWN / owner_tag(), "tmpfs")
        assert [stat.filemode(path.stat().st_mode) for path in (root.path, root.path.parent)] == ["drwx------"] * 2
        assert root.summary.startswith(f"tmpfs at {root.path} (")
    finally:
        remove_tree(root.path)


def test_auto_without_room_takes_the_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no tmpfs has room the directory for temporary files is taken, and the header says why."""
    monkeypatch.setattr(ram, "ROOM", 1 << 60)
    root = choose_root("auto", {"XDG_RUNTIME_DIR": str(place)})
    assert (root.path, root.kind) == (place / OWN / owner_tag(), kind_of(place))
    assert root.why.startswith("/dev/shm ")
    assert root.summary.endswith(f"; {root.why})")


def test_off_takes_the_directory_for_temporary_files(place: Path) -> None:
    """Without RAM the directory for temporary files is taken, and it is told for what it is."""
    assert choose_root("off", {}) == Root(place / OWN / owner_tag(), kind_of(place), "--spip-ram=off")


def test_named_directory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that the user names is taken; its path is made absolute, for children work elsewhere."""
    (tmp_path / "named").mkdir()
    monkeypatch.chdir(tmp_path)
    expected = Root(tmp_path / "named" / OWN / owner_tag(), kind_of(tmp_path))
    assert [choose_root(wish, {}) for wish in (str(tmp_path / "named"), "named", "./named")] == [expected] * 3


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde stands for the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert choose_root("~", {}).path.parent.parent == tmp_path


@pytest.mark.parametrize(
    ("wish", "what"),
    [
        ("missing", "missing is not a writable directory"),
        ("file", "file is not a writable directory"),
        ("/proc", "/proc"),
        ("open", "open lets everybody rename what others made in it"),
    ],
)
def test_unusable_directory_is_a_usage_problem(tmp_path: Path, wish: str, what: str) -> None:
    """A directory in which environments cannot live, or not safely, is refused with option, fault and fix."""
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UsageProblem) as caught:
        choose_root(str(tmp_path / wish), {})
    assert (caught.value.option, caught.value.fix) == ("--spip-ram", "name another, or use --spip-ram=auto")
    assert what in caught.value.what
    assert not (tmp_path / "open" / OWN).exists()


def test_sticky_directory_of_everybody_is_taken(tmp_path: Path) -> None:
    """In a directory such as /tmp others cannot touch what is ours."""
    tmp_path.chmod(0o1777)
    assert choose_root(str(tmp_path), {}).path.parent == tmp_path / OWN


def foreign(path: Path) -> None:
    """Make a directory of another user's."""
    if os.getuid():
        pytest.skip("only root can give a directory away")
    path.mkdir(mode=0o700)
    os.chown(path, 65534, -1)


def linked(path: Path) -> None:
    """Make a link to a directory of ours."""
    path.with_name("target").mkdir(mode=0o700)
    path.symlink_to("target")


def shared(path: Path) -> None:
    """Make a directory of ours that others can write to."""
    path.mkdir()
    path.chmod(0o777)


@pytest.mark.parametrize("make", [foreign, linked, shared, Path.touch])
@pytest.mark.parametrize("wish", ["named", "off"])
def test_name_that_is_held_is_refused(place: Path, make: object, wish: str) -> None:
    """Where somebody else holds our directory's name, or may write below it, nothing is made."""
    assert callable(make)
    make(place / OWN)
    before = sorted(place.rglob("*"))
    with pytest.raises(UsageProblem, match=OWN):
        choose_root(str(place) if wish == "named" else wish, {})
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("place", ["/", "/dev/shm", "/proc", "/sys", "/tmp", "/nowhere/at/all", "."])
def test_is_tmpfs_agrees_with_stat(place: str) -> None:
    """The mount table tells a tmpfs as stat(1) does."""
    path = Path(place)
    assert is_tmpfs(path) == (kind_of(path if path.exists() else Path("/")) == "tmpfs")


# -- sweeping -----------------------------------------------------------------------------------------------------------

OWNER = "from pytest_spip.common.cache import owner_tag; print(owner_tag(), flush=True); input()"


def test_sweep_removes_only_what_the_dead_left(tmp_path: Path) -> None:
    """Directories of runs that are gone, or were given up, go; those of running processes stay, and what names no process."""
    root = choose_root(str(tmp_path), {})
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout
        tag = owner.stdout.readline().strip()
        dead = [f"{owner.pid}-1", "999999999-5", "0-doomed-1-2-3"]
        for name in [tag, "stray", *dead]:
            (root.path.parent / name / "gw0").mkdir(parents=True)
        assert {path.name for path in sweep(root)} == set(dead)
        assert sweep(root) == []
        owner.kill()
    assert [path.name for path in sweep(root)] == [tag]
    assert sorted(os.listdir(root.path.parent)) == sorted([owner_tag(), "stray"])


def test_short_directory(tmp_path: Path) -> None:
    """A run has a directory with a short path beside those of users, private; it goes with the run, and with a dead owner."""
    root = choose_root(str(tmp_path), {})
    for _ in range(2):
        path = short_directory(root)
        assert (path.parent, path.stat().st_mode & 0o777) == (tmp_path, 0o700)
        assert len(path.name) <= 24
        assert short_directory(root) == root.path / "own"  # the name is taken
        (path / "gw0" / "tmp").mkdir(parents=True)
        discard(root.path)
        assert not path.exists()
        root = choose_root(str(tmp_path), {})
    assert eventually(lambda: not list(tmp_path.glob("spip-*")))
    (tmp_path / "spip-7.5").mkdir()
    (tmp_path / "spip-else").mkdir()
    kept = short_directory(root)
    assert [path.name for path in sweep(root) if path.parent == tmp_path] == [
        "spip-7.5"
    ]  # others are still being removed
    assert {path.name for path in tmp_path.glob("spip-*")} == {"spip-else", kept.name}


# -- discarding ---------------------------------------------------------------------------------------------------------


def nest(directory: Path, depth: int) -> None:
    """Make directories one in another, deeper than a path can name or a stack can follow."""
    inner = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        outer = inner
        os.mkdir("deeper", dir_fd=outer)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=outer)
        os.close(outer)
    os.close(inner)


def test_discarded_directory_goes_in_the_background(tmp_path: Path) -> None:
    """The name is free at once, also for the same process's next run, and the tree goes whatever is in it."""
    for _ in range(3):
        root = choose_root(str(tmp_path), {})
        nest(root.path, 2100)
        (root.path / "-rf").touch()
        (root.path / "name\n").touch()
        discard(root.path)
        assert not root.path.exists()
    assert eventually(lambda: not os.listdir(root.path.parent))


REMOVER = """#!/bin/sh
cut -d " " -f 6,19 /proc/$$/stat >{told}
PATH={path}
exec rm "$@"
"""


def test_remover_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remover has the lowest priority and is in another session; it is nobody's child whose end must be awaited."""
    told = tmp_path / "told"
    (tmp_path / "rm").write_text(REMOVER.format(told=told, path=os.environ["PATH"]))
    (tmp_path / "rm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "ram").mkdir()
    root = choose_root(str(tmp_path / "ram"), {})
    discard(root.path)
    assert eventually(lambda: not os.listdir(root.path.parent))
    session, nice = told.read_text().split()
    assert nice == "19"
    assert int(session) != os.getsid(0)


def test_directory_that_is_gone_is_discarded_in_silence(tmp_path: Path) -> None:
    """There may be nothing left to remove."""
    discard(tmp_path / "gone")
    assert os.listdir(tmp_path) == []


def test_without_a_program_to_remove_it_is_removed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no remover can be started the tree is removed all the same."""
    root = choose_root(str(tmp_path), {})
    (root.path / "deep" / "er").mkdir(parents=True)
    monkeypatch.setenv("PATH", "/nowhere")
    discard(root.path)
    assert os.listdir(root.path.parent) == []
