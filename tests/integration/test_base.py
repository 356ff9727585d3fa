"""The base repository: a branch per interpreter, made once, whoever asks and whatever their git is told to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.compose.base import BaseRepository, Replica, branch
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter
from tests.support.interpreters import pythons
from tests.support.rooms import Bases, interpreter, tree_of

LATEST = list(pythons())[-1]
PLAIN = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.fixture
def latest(bases: Bases) -> Interpreter:
    """Return one interpreter."""
    return bases.pythons[LATEST]


def git(repository: Path, *arguments: str, env: Mapping[str, str] = PLAIN) -> str:
    """Run git in a repository, and return what it says."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()


def heads(repository: Path) -> dict[str, str]:
    """Return branches and their commits."""
    lines = git(repository, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    return dict(line.split() for line in lines)


def users_repository(path: Path) -> Path:
    """Make a repository of the user's, with work that is not committed."""
    subprocess.run(["git", "init", "--quiet", str(path)], check=True, env=PLAIN)
    (path / "precious").write_text("not committed")
    return path


def test_every_interpreter_has_its_branch(bases: Bases) -> None:
    """There is one branch per interpreter, of one commit, that holds an environment without pip."""
    found = heads(bases.cache.base)
    assert found.keys() == {branch(one) for one in bases.pythons.values()}
    for name in found:
        files = git(bases.cache.base, "ls-tree", "-r", "--name-only", name).splitlines()
        assert {"pyvenv.cfg", "bin/python"} <= set(files)
        assert not [file for file in files if "pip" in file or "ctivate" in file or file == ".gitignore"]
        assert git(bases.cache.base, "rev-list", "--count", name) == "1"


def test_ensure_is_idempotent(bases: Bases) -> None:
    """Who asks again changes nothing."""
    before = tree_of(bases.cache.base)
    BaseRepository(bases.cache).ensure(list(bases.pythons.values()))
    assert tree_of(bases.cache.base) == before


RACER = """
import sys
from pathlib import Path
from pytest_spip.compose.base import BaseRepository
from pytest_spip.common.cache import Cache
from pytest_spip.plan.interpreters import probe
cache = Cache(Path(sys.argv[1]))
found = [probe(Path(path), cache) for path in sys.argv[2:]]
print("ready", flush=True)
input()
BaseRepository(cache).ensure(found)
"""


def test_processes_may_race(bases: Bases, cache: Cache) -> None:
    """Several processes that start with no repository all succeed, and each branch is made once."""
    wanted = list(bases.pythons.values())[-2:]
    shutil.copytree(bases.cache.interpreters, cache.interpreters)
    command = [sys.executable, "-c", RACER, str(cache.root), *(one.path for one in wanted)]
    pipe = subprocess.PIPE
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()
    ended = [(racer.communicate()[1], racer.returncode) for racer in racers]
    assert ended == [("", 0)] * 4
    assert heads(cache.base).keys() == {branch(one) for one in wanted}
    assert git(cache.base, "fsck", "--full", "--strict") == ""
    assert git(cache.base, "rev-list", "--all", "--count") == str(len(wanted))
    assert not list((cache.root / "staging").glob("*/*"))


def test_users_git_variables_have_no_effect(
    bases: Bases, latest: Interpreter, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a git hook, whose variables name the user's repository, that repository is left alone, as are they."""
    theirs = users_repository(tmp_path / "theirs")
    before = tree_of(theirs)
    variables = {
        "GIT_DIR": str(theirs / ".git"),
        "GIT_WORK_TREE": str(theirs),
        "GIT_INDEX_FILE": str(theirs / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(theirs / ".git" / "objects"),
        "GIT_COMMON_DIR": str(theirs / ".git"),
        "GIT_NAMESPACE": "theirs",
        "GIT_PREFIX": "theirs/",
        "GIT_CONFIG_PARAMETERS": "'core.bare=nonsense'",
        "GIT_CEILING_DIRECTORIES": "/",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    repository = BaseRepository(cache)
    repository.ensure([latest])
    repository.replicate(tmp_path / "ram" / "base.git")
    worktree = Replica(tmp_path / "ram" / "base.git", tmp_path / "ram" / "gw0").add_worktree(latest)
    assert {name: os.environ[name] for name in variables} == variables
    assert tree_of(theirs) == before
    assert heads(cache.base).keys() == {branch(latest)}
    assert (worktree / "pyvenv.cfg").is_file()


def test_users_git_configuration_has_no_effect(
    bases: Bases, latest: Interpreter, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, templates, attributes, ignored files, line endings and signatures of the user's do not reach a worktree."""
    mark = tmp_path / "mark"
    for name in ("hooks", "template/hooks"):
        for hook in ("post-checkout", "reference-transaction", "pre-commit", "post-index-change"):
            script = tmp_path / name / hook
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
            script.chmod(0o755)
    settings = tmp_path / "home" / ".config" / "git"
    settings.mkdir(parents=True)
    (settings / "attributes").write_text("* text eol=crlf\n")
    (settings / "ignore").write_text("*\n")
    (tmp_path / "home" / ".gitconfig").write_text(
        f"[core]\n hooksPath = {tmp_path}/hooks\n autocrlf = true\n eol = crlf\n symlinks = false\n fileMode = false\n"
        f"[init]\n templateDir = {tmp_path}/template\n defaultBranch = odd\n"
        "[commit]\n gpgSign = true\n[user]\n useConfigOnly = true\n[clone]\n defaultRemoteName = odd\n"
    )
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    repository = BaseRepository(cache)
    repository.ensure([latest])
    repository.replicate(tmp_path / "ram" / "base.git")
    worktree = Replica(tmp_path / "ram" / "base.git", tmp_path / "ram" / "gw0").add_worktree(latest)
    assert not mark.exists()
    assert b"\r" not in (worktree / "pyvenv.cfg").read_bytes()
    plain = bases.replica("plain").add_worktree(latest)
    assert {path: state for path, state in tree_of(worktree).items() if path not in (".git", "pyvenv.cfg")} == {
        path: state for path, state in tree_of(plain).items() if path not in (".git", "pyvenv.cfg")
    }


def test_replicas_are_independent(bases: Bases, latest: Interpreter, tmp_path: Path) -> None:
    """Who destroys a replica, or writes into its objects, harms no other replica and not the cache."""
    before = tree_of(bases.cache.base)
    first, second = bases.replica("first"), bases.replica("second")
    path = first.add_worktree(latest)
    for file in (path.parent / "base.git").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(b"overwritten")
    assert (second.add_worktree(latest) / "bin" / "python").is_symlink()
    assert tree_of(bases.cache.base) == before


def test_restored_worktree_is_as_it_was(bases: Bases, latest: Interpreter) -> None:
    """Where a worktree was removed, another one that equals it is checked out, as often as need be."""
    replica = bases.replica("restoring")
    path = replica.add_worktree(latest)
    before = tree_of(path)
    for _ in range(2):
        shutil.rmtree(path)
        replica.restore(path)
        assert tree_of(path) == before


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
def test_interpreter_that_makes_no_environment(cache: Cache, program: str) -> None:
    """An interpreter that cannot make an environment is a fault that names it; no branch is left."""
    with pytest.raises(HarnessProblem, match=f"^{program} makes no environment: "):
        BaseRepository(cache).ensure([interpreter(path=program)])
    assert heads(cache.base) == {}


def test_damaged_repository_is_a_fault_of_ours(cache: Cache, latest: Interpreter, tmp_path: Path) -> None:
    """A base repository that git cannot read is a fault that names it, whatever is wanted of it."""
    cache.base.mkdir(parents=True)
    with pytest.raises(HarnessProblem, match=f"{cache.base}"):
        BaseRepository(cache).ensure([latest])
    with pytest.raises(HarnessProblem, match=f"cannot copy {cache.base}: "):
        BaseRepository(cache).replicate(tmp_path / "copy")


def test_missing_branch_is_a_fault_of_ours(bases: Bases) -> None:
    """A worktree of an interpreter that has no branch cannot be added."""
    with pytest.raises(HarnessProblem, match="git cannot add the worktree"):
        bases.replica("lacking").add_worktree(interpreter(path="/unheard/of"))
