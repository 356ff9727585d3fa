"""A worktree: what a combination finds in it, and that the next one finds nothing of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.compose.worktree import Worktree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Composed, StoredWheel
from tests.support.interpreters import pythons
from tests.support.rooms import Bases, environment, every_python, filed, interpreter, tree_of

OLDEST, *_, LATEST = [*pythons(), *pythons()]
FILES = {"demo/__init__.py": "value = 1\n", "demo/data.txt": "data"}
TOOL = "#!python\nimport demo, sys\nprint(sys.prefix, sys.argv[1:])\n"


@pytest.fixture(scope="module")
def demo(bases: Bases) -> StoredWheel:
    """File a wheel that has something for every scheme."""
    return filed(
        bases.cache,
        "demo",
        "1.0",
        FILES,
        entry_points="[console_scripts]\ndemo-entry = demo.entry:main\n",
        scripts={"demo-tool": TOOL, "demo-shell": "#!/bin/sh\necho shell\n", "demo-binary": b"\x7fELF /spip-python"},
        data={
            "data/share/demo/text": "shared",
            "data/lib64/linked": "by lib64",
            "headers/demo.h": "// header",
            "purelib/demo/pure.py": "",
            "platlib/demo/entry.py": "def main():\n    import sys\n    print(sys.prefix)\n",
        },
    )


def python(composed: Composed, *arguments: str) -> str:
    """Run the environment's interpreter as a person would."""
    return output(composed.python, "-c", *arguments)


def output(*command: str | Path) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": os.defpath}).stdout.strip()


# -- composed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", every_python())
def test_environment_is_whole(bases: Bases, demo: StoredWheel, version: str) -> None:
    """On every Python the prefix is the worktree, packages import, scripts run, and every scheme's files are in place."""
    with bases.worktree(version).composed(environment(demo)) as composed:
        prefix = Path(composed.prefix)
        assert python(composed, "import sys; print(sys.prefix)") == composed.prefix
        assert python(composed, "import sys; print('%d.%d' % sys.version_info[:2])") == version
        assert python(composed, "import demo; print(demo.__file__)") == f"{composed.site}/demo/__init__.py"
        assert python(composed, "import site; print(site.getsitepackages())").find(composed.site) > 0
        assert output(prefix / "bin" / "demo-tool", "word") == f"{composed.prefix} ['word']"
        assert output(prefix / "bin" / "demo-entry") == composed.prefix
        assert output(prefix / "bin" / "demo-shell") == "shell"
        assert (prefix / "bin" / "demo-binary").read_bytes() == b"\x7fELF /spip-python"
        assert (prefix / "share" / "demo" / "text").read_text() == "shared"
        assert (prefix / "lib" / "linked").read_text() == "by lib64"
        assert [path.name for path in (prefix / "include").rglob("*.h")] == ["demo.h"]
        for directory in (composed.home, composed.tmp, composed.cwd):
            assert os.listdir(directory) == []
            assert not Path(directory).is_relative_to(prefix)
            assert Path(directory).is_relative_to(bases.worktree(version).own)
        assert bases.worktree(version).own.stat().st_mode & 0o777 == 0o700


def test_metadata_can_be_read(bases: Bases, demo: StoredWheel) -> None:
    """The environment's own importlib.metadata finds the project and its files where RECORD says, headers too."""
    code = """if True:
        import importlib.metadata as m
        print(m.version("demo"), [str(file) for file in m.files("demo") if not file.locate().exists()])
    """
    with bases.worktree(OLDEST).composed(environment(demo)) as composed:
        assert python(composed, code) == "1.0 []"


def test_package_cannot_write_into_the_store(bases: Bases, demo: StoredWheel) -> None:
    """A package that changes, adds and removes files in its own directory leaves the store as it was."""
    code = """if True:
        import demo, os, sys
        here = os.path.dirname(demo.__file__)
        open(os.path.join(here, "data.txt"), "a").write("more")
        os.truncate(demo.__file__, 0)
        os.chmod(os.path.join(here, "pure.py"), 0)
        os.unlink(os.path.join(here, "entry.py"))
        open(os.path.join(sys.prefix, "share", "demo", "text"), "w").write("changed")
        open(os.path.join(sys.prefix, "bin", "demo-tool"), "a").write("changed")
    """
    before = tree_of(Path(demo.root))
    with bases.worktree(LATEST).composed(environment(demo)) as composed:
        python(composed, code)
        assert Path(composed.site, "demo", "__init__.py").read_bytes() == b""
    assert tree_of(Path(demo.root)) == before
    assert (Path(demo.root) / "purelib" / "demo" / "data.txt").stat().st_nlink == 1


def test_later_wheel_wins(bases: Bases) -> None:
    """Of two wheels that hold the same file the later one's is found, and neither store entry changes."""
    one = filed(bases.cache, "one", "1", {"same.py": "who = 1"})
    two = filed(bases.cache, "two", "1", {"same.py": "who = 2"})
    before = tree_of(Path(one.root)), tree_of(Path(two.root))
    with bases.worktree(LATEST).composed(environment(one, two)) as composed:
        assert python(composed, "import same; print(same.who)") == "2"
    assert (tree_of(Path(one.root)), tree_of(Path(two.root))) == before


def test_executable_bit_is_kept(bases: Bases) -> None:
    """A program among a package's data can be run, other files cannot."""
    wheel = filed(bases.cache, "bits", "1", {"bits/run": "#!/bin/sh\necho ran\n", "bits/plain": ""})
    (Path(wheel.root) / "purelib" / "bits" / "run").chmod(0o755)
    with bases.worktree(LATEST).composed(environment(wheel)) as composed:
        assert output(Path(composed.site, "bits", "run")) == "ran"
        assert not os.stat(Path(composed.site, "bits", "plain")).st_mode & 0o111


@pytest.mark.parametrize("name", ["with space", "long" * 40], ids=["space", "long"])
def test_scripts_run_from_any_path(bases: Bases, demo: StoredWheel, name: str) -> None:
    """Scripts run also where the interpreter's path has a space or is longer than a kernel reads."""
    worktree = bases.fresh(name, LATEST)
    with worktree.composed(environment(demo)) as composed:
        assert output(worktree.path / "bin" / "demo-tool") == f"{composed.prefix} []"


def pretended(path: Path) -> tuple[Worktree, Path]:
    """Return a worktree whose ``bin/python`` leads to a file that nobody minds, and that file."""
    victim = path / "interpreter"
    victim.write_text("precious")
    (path / "tree" / "bin").mkdir(parents=True)
    (path / "tree" / "bin" / "python").symlink_to(victim)
    return Worktree(path / "tree", interpreter(), Path.mkdir), victim


@pytest.mark.parametrize("how", ["scripts", "data"])
def test_wheel_cannot_write_through_to_the_interpreter(tmp_path: Path, how: str) -> None:
    """A wheel that installs ``bin/python`` replaces the link, never the user's interpreter that it leads to."""
    cache = Cache(tmp_path / "cache")
    cache.root.mkdir()
    members = {"scripts": {"python": TOOL}, "data": {"data/bin/python": "overwritten"}}
    wheel = filed(cache, "rude", "1", {}, **{how: members[how]})
    worktree, victim = pretended(tmp_path)
    with worktree.composed(environment(wheel)):
        assert not (worktree.path / "bin" / "python").is_symlink()
    assert victim.read_text() == "precious"


# -- cleared ------------------------------------------------------------------------------------------------------------

LEFTOVERS = """
home/.config/file  home/.bashrc  tmp/file  tmp/deep/er/file  work/out.txt  bin/tool  file  directory/file
lib/python{v}/site-packages/left.py  lib/python{v}/site-packages/left.pth  lib/python{v}/site-packages/sitecustomize.py
lib/python{v}/site-packages/__pycache__/x.pyc  lib/python{v}/more.py  lib/more/file  lib64/more.txt  include/left.h
local/lib/file  pyvenv.cfg.bak  .hidden  .gitignore  .gitattributes  share/man/page
"""


def test_nothing_is_left_for_the_next(bases: Bases, demo: StoredWheel) -> None:
    """Files that a combination leaves anywhere in its environment are gone when the next one comes."""
    worktree = bases.fresh("leftovers", LATEST)
    before = tree_of(worktree.path)
    with worktree.composed(environment(demo)):
        for name in LEFTOVERS.split():
            path = worktree.path / name.format(v=LATEST)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("left")
        assert tree_of(worktree.path) != before
    assert tree_of(worktree.path) == before
    with worktree.composed(environment()) as composed:
        assert os.listdir(composed.site) == os.listdir(composed.home) == os.listdir(composed.tmp) == []


def odd_files(root: Path, victim: Path) -> None:
    """Leave what is not a plain file or directory, or cannot simply be removed."""
    (root / "work").mkdir(exist_ok=True)
    (root / "work" / "link").symlink_to(victim)
    (root / "include").symlink_to(victim)
    (root / "lib" / "link").symlink_to(victim)
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe")).touch()
    (root / "tmp" / "sealed" / "deep").mkdir(parents=True)
    (root / "tmp" / "sealed" / "deep" / "file").touch()
    (root / "tmp" / "sealed" / "deep").chmod(0)
    (root / "tmp" / "sealed").chmod(0o500)
    deep = root / "tmp"
    for _ in range(150):
        deep /= "x" * 20
        deep.mkdir()


def test_odd_files_are_removed_and_links_not_followed(bases: Bases, tmp_path: Path) -> None:
    """Links, pipes, sealed and deep directories, and names that are no text go; what links lead to stays."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "precious").write_text("kept")
    worktree = bases.fresh("odd", LATEST)
    before = tree_of(worktree.path)
    with worktree.composed(environment()):
        odd_files(worktree.path, tmp_path / "victim")
        for directory in ("home", "tmp", "src"):
            (worktree.own / directory / "bin").mkdir()
            (worktree.own / directory / "lib").mkdir()
            odd_files(worktree.own / directory, tmp_path / "victim")
        worktree.own.chmod(0o500)
    assert tree_of(worktree.path) == before
    assert os.listdir(worktree.own) == []
    assert (tmp_path / "victim" / "precious").read_text() == "kept"


TOUCHED = "tr a-z A-Z <$it >.it; touch -r $it .it; cat .it >$it; touch -r .it $it"
SITE = "lib/python*/site-packages"
DAMAGES = {  # what a shell in the worktree does; $VICTIM is a directory that links must not lead us to
    "pyvenv.cfg removed": "rm pyvenv.cfg",
    "pyvenv.cfg overwritten in place": f"it=pyvenv.cfg; {TOUCHED}",
    "pyvenv.cfg a directory": "rm pyvenv.cfg; mkdir pyvenv.cfg",
    "pyvenv.cfg shut": "chmod 0 pyvenv.cfg",
    "python removed": "rm bin/python",
    "python replaced": "rm bin/python; cp /bin/sh bin/python",
    "python elsewhere": "ln -sfn $VICTIM bin/python",
    "bin removed": "rm -r bin",
    "bin a link": "rm -r bin; ln -s $VICTIM bin",
    "lib removed": "rm -r lib",
    "lib a link": "rm -r lib; ln -s $VICTIM lib",
    "lib a file": "rm -r lib; touch lib",
    "lib shut": "chmod 0 lib",
    "lib moved": "mv lib bil; ln -s bil lib",
    "lib64 elsewhere": "ln -sfn $VICTIM lib64",
    "site-packages removed": f"rm -r {SITE}",
    "site-packages a link": f"site=$(echo {SITE}); rm -r $site; ln -s $VICTIM $site",
    "git file removed": "rm .git",
    "git file moved": "echo gitdir: $VICTIM/.git >.git; rm pyvenv.cfg",
    "git file a directory": "rm .git; mkdir -p .git/hooks",
    "all removed": "rm -rf $PWD",
    "all moved": "mv $PWD $PWD.moved; ln -s $PWD.moved $PWD",
    "all a link": "rm -rf $PWD; ln -s $VICTIM $PWD",
    "all shut": "chmod 0 .",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_mended(bases: Bases, demo: StoredWheel, tmp_path: Path, name: str) -> None:
    """Whatever a combination does to the base environment, the next one finds it as it was; links are not followed."""
    theirs = tmp_path / "theirs"  # a repository of the user's, above our worktree, with work that is not committed
    subprocess.run(["git", "init", "--quiet", str(theirs)], check=True)
    (theirs / "precious").write_text("kept")
    known = tree_of(theirs)
    replica = bases.replica(str(theirs / "ram"))
    worktree = Worktree(replica.add_worktree(bases.pythons[LATEST]), bases.pythons[LATEST], replica.restore)
    before = tree_of(worktree.path)
    with worktree.composed(environment()):
        subprocess.run(
            ["sh", "-ec", DAMAGES[name]], cwd=worktree.path, env={**os.environ, "VICTIM": str(theirs)}, check=True
        )
    assert tree_of(worktree.path) == before
    with worktree.composed(environment(demo)) as composed:
        assert output(worktree.path / "bin" / "demo-tool") == f"{composed.prefix} []"
    assert {path: state for path, state in tree_of(theirs).items() if not path.startswith("ram")} == known


def test_undamaged_base_is_not_restored(bases: Bases, demo: StoredWheel, tmp_path: Path) -> None:
    """A combination that leaves the base environment alone costs no git command."""
    restored: list[Path] = []
    made = bases.fresh("untouched", LATEST)
    worktree = Worktree(made.path, bases.pythons[LATEST], restored.append)
    for _ in range(2):
        with worktree.composed(environment(demo)) as composed:
            python(composed, "import demo, encodings")
    assert restored == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failing_combination_is_cleared_too(bases: Bases, demo: StoredWheel, error: type[BaseException]) -> None:
    """However a combination ends, nothing of it is left."""
    worktree = bases.worktree(LATEST)
    before = tree_of(worktree.path)
    with pytest.raises(error), worktree.composed(environment(demo)):
        raise error
    assert tree_of(worktree.path) == before


def test_wheel_that_is_gone_is_a_fault_of_ours(bases: Bases, demo: StoredWheel) -> None:
    """A wheel that is no longer in the store is a fault, and what was composed until then is taken out again."""
    worktree = bases.worktree(LATEST)
    before = tree_of(worktree.path)
    gone = StoredWheel("0" * 64, "gone", "1", "/nowhere/gone")
    with (
        pytest.raises(HarnessProblem, match="cannot compose an environment"),
        worktree.composed(environment(demo, gone)),
    ):
        pytest.fail("composed")
    assert tree_of(worktree.path) == before


def leave_immutable(worktree: Worktree) -> None:
    """Run a combination that leaves a file which nobody can remove."""
    with worktree.composed(environment()) as composed:
        (Path(composed.cwd) / "stubborn").touch()
        done = subprocess.run(["chattr", "+i", f"{composed.cwd}/stubborn"], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("no file can be made immutable here")


def test_what_cannot_be_removed_is_a_fault_of_ours(bases: Bases) -> None:
    """A leftover that withstands is not passed on to the next combination in silence."""
    worktree = bases.fresh("stubborn", LATEST)
    try:
        with pytest.raises(HarnessProblem, match=r"cannot remove .*/src$"):
            leave_immutable(worktree)
    finally:
        subprocess.run(
            ["chattr", "-i", str(worktree.own / "src" / "work" / "stubborn")], check=False, capture_output=True
        )
