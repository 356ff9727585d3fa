"""Trees: which files of a project and of an sdist a suite sees."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.disk import Cache
from pytest_spip.errors import UsageProblem
from pytest_spip.provision.trees import Trees
from tests.support.distributions import sdist
from tests.support.rooms import filed

SOURCE = {"pyproject.toml": "", "src/demo/__init__.py": "x = 1\n", "src/demo/data/a.txt": "a", "tests/test_demo.py": ""}
LEFT = {
    ".tox/py/a.py": "",
    ".nox/a.py": "",
    ".spip/runs/a": "",
    "src/demo/__pycache__/a.pyc": "",
    "build/lib/demo.py": "",
    "dist/demo.whl": "",
    "src/demo.egg-info/PKG-INFO": "",
    "env/pyvenv.cfg": "",
    "env/bin/python": "",
}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache."""
    (tmp_path / "cache").mkdir()
    return Cache(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project's directory."""
    return write(tmp_path / "project", SOURCE)


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a directory."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def git(project: Path, *words: str) -> None:
    """Run git in a project, as somebody."""
    who = ["-c", "user.name=a", "-c", "user.email=a@example"]
    subprocess.run(["git", "-C", str(project), *who, *words], check=True, stdout=subprocess.DEVNULL)


def seen(tree: Path) -> set[str]:
    """Return the paths of all files and links of a tree."""
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or path.is_file()}


def test_plain_project(cache: Cache, project: Path) -> None:
    """Of a project that git does not know all files are taken but what tools leave behind; fixtures that look like it stay."""
    write(project, LEFT)
    kept = {"tests/build/a.txt": "", "tests/data/a.dist-info/METADATA": "", "venv/a.py": ""}
    write(project, kept)
    assert seen(Trees(cache).snapshot(project)) == {*SOURCE, *kept}


def test_checkout(cache: Cache, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a git checkout those files are taken that are tracked or new; not those that are ignored or were deleted."""
    write(
        project,
        {**LEFT, "gone.py": "", "secret.py": "", ".gitignore": "secret.py\nbuild\ndist\n", "with space/ä.py": ""},
    )
    git(project, "init", "-q")
    git(project, "add", "gone.py", "src/demo/__init__.py")
    git(project, "commit", "-qm", "x")
    (project / "gone.py").unlink()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert seen(Trees(cache).snapshot(project)) == {*SOURCE, ".gitignore", "with space/ä.py"}


def test_ignored_project(cache: Cache, project: Path, tmp_path: Path) -> None:
    """A project in a directory that a checkout around it ignores is taken as one that git does not know."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*\n")
    assert seen(Trees(cache).snapshot(project)) == {*SOURCE}


def test_submodule(cache: Cache, project: Path) -> None:
    """A repository within the project, of which git names the directory alone, is taken with its files."""
    git(project, "init", "-q")
    write(project / "vendor", {"a.py": ""})
    git(project / "vendor", "init", "-q")
    git(project / "vendor", "add", "a.py")
    git(project / "vendor", "commit", "-qm", "x")
    assert seen(Trees(cache).snapshot(project)) == {*SOURCE, "vendor/a.py"}


def test_links_and_modes(cache: Cache, project: Path) -> None:
    """Links stay links, to directories too; programs stay executable; what is no file is left out."""
    (project / "link").symlink_to("tests")
    (project / "tests" / "run.sh").write_text("")
    (project / "tests" / "run.sh").chmod(0o700)
    with socket.socket(socket.AF_UNIX) as endpoint:
        here = os.open(project, os.O_RDONLY)
        endpoint.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    tree = Trees(cache).snapshot(project)
    assert os.readlink(tree / "link") == "tests"
    assert (tree / "tests" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert "socket" not in seen(tree)


def test_name_tells_content(cache: Cache, project: Path) -> None:
    """The same files have the same tree; another content, name or mode makes another one, and the old one stays as it was."""
    trees = Trees(cache)
    first = trees.snapshot(project)
    assert trees.snapshot(project) == first
    found = {first}
    (project / "src/demo/__init__.py").write_text("x = 2\n")
    found.add(trees.snapshot(project))
    (project / "tests/test_demo.py").chmod(0o755)
    found.add(trees.snapshot(project))
    (project / "tests/test_demo.py").rename(project / "tests/test_other.py")
    found.add(trees.snapshot(project))
    assert len(found) == 4
    assert (first / "src/demo/__init__.py").read_text() == "x = 1\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root can read everything")
def test_project_that_cannot_be_read(cache: Cache, project: Path) -> None:
    """A file that cannot be read is named in one line."""
    (project / "pyproject.toml").chmod(0)
    with pytest.raises(UsageProblem, match=r"--spip-project: cannot read .*pyproject\.toml"):
        Trees(cache).snapshot(project)


def test_links_are_not_followed(cache: Cache, project: Path) -> None:
    """A link that leads out of the project, or nowhere, is taken as it is."""
    (project / "out").symlink_to("/proc/self/mem")
    (project / "loop").symlink_to("loop")
    tree = Trees(cache).snapshot(project)
    assert [os.readlink(tree / name) for name in ("out", "loop")] == ["/proc/self/mem", "loop"]


# -- beside a wheel -----------------------------------------------------------------------------------------------------

INSTALLED = {"demo/__init__.py": "x = 1\n", "demo/data/a.txt": "a", "demo/_version.py": ""}


def test_what_is_installed_is_left_out(cache: Cache, project: Path) -> None:
    """Files that the wheel installs are left out, at the top and below src; tests inside the package stay."""
    write(project, {"demo/__init__.py": "", "src/demo/tests/test_in.py": "", "src/demo/data/b.txt": ""})
    trees = Trees(cache)
    tree = trees.beside(trees.snapshot(project), filed(cache, "demo", "1.0", INSTALLED))
    assert seen(tree) == {"pyproject.toml", "tests/test_demo.py", "src/demo/tests/test_in.py", "src/demo/data/b.txt"}


def test_installed_tests_stay(cache: Cache, project: Path) -> None:
    """A suite that the wheel installs as a package of its own, as happens by mistake, stays."""
    trees = Trees(cache)
    wheel = filed(cache, "demo", "1.0", {**INSTALLED, "tests/test_demo.py": ""})
    assert "tests/test_demo.py" in seen(trees.beside(trees.snapshot(project), wheel))


def test_equal_wheels_share_a_tree(cache: Cache, project: Path) -> None:
    """Wheels that install the same files, whatever these hold, have one tree."""
    trees = Trees(cache)
    source = trees.snapshot(project)
    wheels = [filed(cache, "demo", version, {**INSTALLED, "demo/x.py": version}) for version in ("1.0", "2.0")]
    assert trees.beside(source, wheels[0]) == trees.beside(source, wheels[1])
    assert trees.beside(source, filed(cache, "demo", "3.0", {})) != trees.beside(source, wheels[0])


def test_sdist(cache: Cache, tmp_path: Path) -> None:
    """An sdist's top directory becomes a tree, without metadata that would be found before the wheel's."""
    files = {"src/demo/__init__.py": "", "src/demo.egg-info/PKG-INFO": "", "tests/test_demo.py": ""}
    archive = sdist(tmp_path, "demo", "1.0", files)
    trees = Trees(cache)
    source = trees.unpacked(archive, "0" * 64)
    assert (source / "PKG-INFO").exists()
    assert seen(trees.beside(source, filed(cache, "demo", "1.0", INSTALLED))) == {"PKG-INFO", "tests/test_demo.py"}
