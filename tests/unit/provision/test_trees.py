"""Trees: which files of a project and of an sdist a suite sees."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
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
def cache(cache: Cache) -> Cache:
    """Return an empty cache, whose directory is there."""
    cache.root.mkdir()
    return cache


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
    assert seen(Trees(cache).snapshot(project).tree) == {*SOURCE, *kept}


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
    assert seen(Trees(cache).snapshot(project).tree) == {*SOURCE, ".gitignore", "with space/ä.py"}


def test_ignored_project(cache: Cache, project: Path, tmp_path: Path) -> None:
    """A project in a directory that a checkout around it ignores is taken as one that git does not know."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*\n")
    assert seen(Trees(cache).snapshot(project).tree) == {*SOURCE}


def test_submodule(cache: Cache, project: Path) -> None:
    """A repository within the project, of which git names the directory alone, is taken with its files."""
    git(project, "init", "-q")
    write(project / "vendor", {"a.py": ""})
    git(project / "vendor", "init", "-q")
    git(project / "vendor", "add", "a.py")
    git(project / "vendor", "commit", "-qm", "x")
    assert seen(Trees(cache).snapshot(project).tree) == {*SOURCE, "vendor/a.py"}


def test_links_and_modes(cache: Cache, project: Path) -> None:
    """Links stay links, to directories too; programs stay executable; what is no file is left out."""
    (project / "link").symlink_to("tests")
    (project / "tests" / "run.sh").write_text("")
    (project / "tests" / "run.sh").chmod(0o700)
    with socket.socket(socket.AF_UNIX) as endpoint:
        here = os.open(project, os.O_RDONLY)
        endpoint.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    tree = Trees(cache).snapshot(project).tree
    assert os.readlink(tree / "link") == "tests"
    assert (tree / "tests" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert "socket" not in seen(tree)


def test_name_tells_content(cache: Cache, project: Path) -> None:
    """The same files have the same tree; another content, name or mode makes another one, and the old one stays as it was."""
    trees = Trees(cache)
    first = trees.snapshot(project).tree
    assert trees.snapshot(project).tree == first
    found = {first}
    (project / "src/demo/__init__.py").write_text("x = 2\n")
    found.add(trees.snapshot(project).tree)
    (project / "tests/test_demo.py").chmod(0o755)
    found.add(trees.snapshot(project).tree)
    (project / "tests/test_demo.py").rename(project / "tests/test_other.py")
    found.add(trees.snapshot(project).tree)
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
    tree = Trees(cache).snapshot(project).tree
    assert [os.readlink(tree / name) for name in ("out", "loop")] == ["/proc/self/mem", "loop"]


def repository(root: Path) -> Path:
    """Write a repository with a project in a subdirectory, and return the project's directory."""
    write(root, {"pytest.ini": "", "conftest.py": "", "docs/a.md": "", "other/setup.py": "", "scratch.txt": ""})
    write(root, {".gitignore": "scratch.txt\n"})
    return write(root / "packages" / "demo", SOURCE)


@pytest.mark.parametrize("committed", [True, False])
def test_project_in_a_repository(cache: Cache, tmp_path: Path, *, committed: bool) -> None:
    """Of a project below the top of its repository the whole checkout is taken, and the place in it is told."""
    project = repository(tmp_path / "mono")
    git(tmp_path / "mono", "init", "-q")
    if committed:
        git(tmp_path / "mono", "add", ".")
        git(tmp_path / "mono", "commit", "-qm", "x")
    tree, place = Trees(cache).snapshot(project)
    above = {"pytest.ini", "conftest.py", "docs/a.md", "other/setup.py", ".gitignore"}
    assert seen(tree) == above | {f"packages/demo/{path}" for path in SOURCE}
    assert place == "mono/packages/demo"


def test_project_that_no_repository_tracks(cache: Cache, tmp_path: Path) -> None:
    """A project in a repository that tracks other files, as people keep their home directories, is taken alone."""
    project = repository(tmp_path / "home")
    git(tmp_path / "home", "init", "-q")
    git(tmp_path / "home", "add", "pytest.ini")
    git(tmp_path / "home", "commit", "-qm", "x")
    tree, place = Trees(cache).snapshot(project)
    assert (seen(tree), place) == ({*SOURCE}, "demo")


# -- under a wheel ------------------------------------------------------------------------------------------------------


def overlaid(cache: Cache, project: Path, installed: Mapping[str, str]) -> dict[str, str]:
    """Return the contents of what a wheel changes in a project's tree, by path; nothing may be missing from it."""
    trees, number = Trees(cache), len(list(cache.root.glob("made/*")))
    source = trees.snapshot(project)
    tree = trees.overlaid(source.tree, source.below, filed(cache, "demo", f"{number}.0", installed))
    assert seen(source.tree) <= seen(tree)
    read = {path: (tree / path).read_text() for path in seen(tree)}
    known = {path: (source.tree / path).read_text() for path in seen(source.tree)}
    return {path: text for path, text in read.items() if known.get(path) != text}


def test_what_is_built_lies_over_the_sources(cache: Cache, project: Path) -> None:
    """Extension modules, generated and rewritten files of the wheel lie in the package's directory; all else is the checkout's."""
    write(project, {"src/demo/tests/test_in.py": "", "src/demo/conftest.py": "", "src/demo/data/b.txt": ""})
    wheel = {
        "demo/__init__.py": "x = 2\n",
        "demo/_fast.so": "binary",
        "demo/_version.py": "1.0",
        "demo/new/deep.py": "",
        "demo/data/a.txt": "a",
        "demo/tests/test_in.py": "other",
        "demo/tests/test_new.py": "",
        "demo/conftest.py": "other",
        "demo.libs/libx.so": "library",
        "stray.py": "",
    }
    assert overlaid(cache, project, wheel) == {
        "src/demo/__init__.py": "x = 2\n",
        "src/demo/_fast.so": "binary",
        "src/demo/_version.py": "1.0",
        "src/demo/new/deep.py": "",
        "src/demo.libs/libx.so": "library",
    }


INIT = "/__init__.py"
CASES: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {  # checkout, wheel, what the wheel changes
    "equal": ({"demo" + INIT: "1"}, {"demo" + INIT: "1"}, {}),
    "flat": ({"demo" + INIT: "1"}, {"demo" + INIT: "2"}, {"demo" + INIT: "2"}),
    "somewhere": ({"code/py/demo" + INIT: "1"}, {"demo" + INIT: "1", "demo/x.so": "x"}, {"code/py/demo/x.so": "x"}),
    "nowhere": ({"lib/other.py": ""}, {"demo" + INIT: "1", "demo/x.so": "x"}, {}),
    "module": ({"demo.py": "1", "tests/demo.py": "3"}, {"demo.py": "2", "_fast.so": "x"}, {"demo.py": "2"}),
    "module in src": ({"src/demo.py": "1", "docs/demo.py": ""}, {"demo.py": "2"}, {"src/demo.py": "2"}),
    "namespace": (
        {"src/ns/a" + INIT: "1", "more/ns/b" + INIT: "1", "src/ns/c/d.py": ""},
        {"ns/a" + INIT: "1", "ns/a/x.so": "x", "ns/b" + INIT: "1", "ns/b/y.so": "y", "ns/c/d.py": "", "ns/c/v.py": "v"},
        {"src/ns/a/x.so": "x", "more/ns/b/y.so": "y", "src/ns/c/v.py": "v"},
    ),
    "two packages": (
        {"one/src/a" + INIT: "", "two/src/b" + INIT: ""},
        {"a" + INIT: "", "a/x.so": "x", "b" + INIT: "", "b/x.so": "x"},
        {"one/src/a/x.so": "x", "two/src/b/x.so": "x"},
    ),
    "named like the suite": (
        {"src/tests" + INIT: "", "src/tests/core.py": "", "tests" + INIT: "", "tests/test_it.py": ""},
        {"tests" + INIT: "", "tests/core.py": "", "tests/x.so": "x"},
        {"src/tests/x.so": "x"},
    ),
    "sources of another name": (
        {"tests" + INIT: "", "pyproject.toml": '[tool.setuptools.package-dir]\n"tests" = "code"\n', "code/core.py": ""},
        {"tests" + INIT: "", "tests/core.py": "", "tests/x.so": "x", "tests/y.so": "y"},
        {"code/x.so": "x", "code/y.so": "y", "code" + INIT: ""},
    ),
    "installed suite": (
        {"demo.py": "", "tests" + INIT: "", "tests/test_it.py": "1", "tests/helper.py": "1"},
        {"demo.py": "", "tests" + INIT: "", "tests/test_it.py": "1", "tests/helper.py": "1"},
        {},
    ),
    "a copy": (
        {"src/demo" + INIT: "1", "src/demo/a.py": "1", "vendor/demo" + INIT: "0", "vendor/demo/a.py": "1"},
        {"demo" + INIT: "1", "demo/a.py": "1", "demo/x.so": "x"},
        {"src/demo/x.so": "x"},
    ),
    "in the way": ({"demo" + INIT: "", "demo/new": ""}, {"demo" + INIT: "", "demo/new/x.py": ""}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_where_sources_lie(cache: Cache, tmp_path: Path, name: str) -> None:
    """A package's directory in the checkout is found by what it has in common with the wheel, whatever the layout."""
    checkout, wheel, changed = CASES[name]
    assert overlaid(cache, write(tmp_path / "project", {"pyproject.toml": "", **checkout}), wheel) == changed


def test_links_stay(cache: Cache, project: Path) -> None:
    """A link in a package is not replaced by the file that a wheel has of it."""
    (project / "src/demo/README").symlink_to("../../nowhere")
    source = Trees(cache).snapshot(project).tree
    wheel = filed(cache, "demo", "1.0", {"demo/__init__.py": "x = 1\n", "demo/README": "text"})
    assert Trees(cache).overlaid(source, "", wheel) == source


def test_equal_wheels_share_a_tree(cache: Cache, project: Path) -> None:
    """Wheels that change the same files in the same way have one tree."""
    trees = Trees(cache)
    source = trees.snapshot(project).tree
    common = {"demo/__init__.py": "x = 1\n", "demo/_version.py": ""}
    wheels = [filed(cache, "demo", version, {**common, "other.py": version}) for version in ("1.0", "2.0")]
    found = [trees.overlaid(source, "", wheel) for wheel in wheels]
    assert found[0] == found[1] != source
    assert trees.overlaid(source, "", filed(cache, "demo", "3.0", {**common, "demo/x.py": ""})) != found[0]


def test_sdist(cache: Cache, tmp_path: Path) -> None:
    """An sdist's top directory becomes a tree, as it is."""
    files = {"src/demo/__init__.py": "", "src/demo.egg-info/PKG-INFO": "", "tests/test_demo.py": ""}
    archive = sdist(tmp_path, "demo", "1.0", files)
    assert seen(Trees(cache).unpacked(archive, "0" * 64)) == {"PKG-INFO", *files}
