"""The import check: what it shows is the same in every way to run it, on every Python."""

from __future__ import annotations

import dataclasses
import itertools
import json
import socket
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_spip.model import Check, Composed, Environment, Limits, Outcome, Phase, Reason, Result, Sandbox
from pytest_spip.run.alone import AloneRunner
from pytest_spip.run.check_runners import SHARING
from pytest_spip.run.checks import check_runner_of
from tests.support.interpreters import pythons
from tests.support.rooms import Bases, combo, environment, every_python, filed
from tests.support.ways import WAYS, Way, must_work, shared_way

LIMITS = Limits(timeout=60, memory=256 << 20, file_size=1 << 20, output=1 << 20)
LATEST = list(pythons())[-1]
NUMBERS = itertools.count(1)
Try = Callable[..., Result]


@pytest.fixture(params=WAYS)
def way(tmp_path_factory: pytest.TempPathFactory, adopted: None, request: pytest.FixtureRequest) -> Way:
    """Go each way; its servers are ended when the session is."""
    must_work(int(request.param.partition("-")[2] or 1))
    return shared_way(tmp_path_factory.getbasetemp(), request.param)


@pytest.fixture(scope="module", autouse=True)
def _no_server_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    for name in WAYS:
        shared_way(tmp_path_factory.getbasetemp(), name).runner.close()


@pytest.fixture
def attempt(bases: Bases, way: Way) -> Try:
    """Return a function that runs the import check of a project with some modules."""

    def attempt(*codes: str, python: str = LATEST, limits: Limits = LIMITS, name: str = "demo") -> Result:
        version = f"1.{next(NUMBERS)}"
        names = [name] if len(codes) == 1 else [f"{name}{number}" for number in range(len(codes))]
        files = {f"{module}.py": textwrap.dedent(code) for module, code in zip(names, codes, strict=True)}
        wheel = filed(bases.cache, "demo", version, files)
        with way.composed(python, environment(wheel)) as composed:
            return way.run(combo(python=bases.pythons[python], version=version), environment(wheel), composed, limits)

    return attempt


def summary(result: Result) -> tuple[Outcome, Reason | None, str]:
    """Return what a person reads first."""
    return result.verdict.outcome, result.verdict.reason, result.verdict.detail


# -- every Python -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", every_python())
def test_import_passes(attempt: Try, python: str) -> None:
    """A module that can be imported passes, on every Python, and what it took is measured."""
    result = attempt("import sys; print(sys.version)", python=python)
    assert summary(result) == (Outcome.PASSED, None, "")
    assert result.verdict.phase is Phase.IMPORT
    assert result.output == ""
    assert result.cpu_seconds > 0
    assert 1 << 20 < result.peak_rss < 1 << 30


LIARS = """
    import sys, types
    class Liar:
        __class__ = types.ModuleType
    class Raiser:
        def __getattribute__(self, name): raise BaseException(name)
        __eq__ = __hash__ = __repr__ = __getattribute__
    class Strange(types.ModuleType):
        __dict__ = property(lambda self: 1 / 0)
    bare = types.ModuleType.__new__(types.ModuleType)
    sys.modules.update(liar=Liar(), raiser=Raiser(), strange=Strange("strange"), bare=bare, threading=Raiser())
"""


def test_liars_among_modules(attempt: Try) -> None:
    """What a package puts among modules may lie about its class, and raise whatever it is asked; nobody asks it, at no run."""
    for _ in range(3):
        assert summary(attempt(LIARS)) == (Outcome.PASSED, None, "")


@pytest.mark.parametrize("python", every_python())
def test_failure_shows_no_frame_of_ours(attempt: Try, python: str) -> None:
    """A failing import's traceback begins in the package, on every Python."""
    result = attempt("def broken():\n    import nowhere\nprint('before')\nbroken()", python=python)
    assert summary(result) == (Outcome.FAILED, Reason.IMPORT_ERROR, "ModuleNotFoundError: No module named 'nowhere'")
    first, head, frame, *_ = result.output.splitlines()
    assert (first, head) == ("before", "Traceback (most recent call last):")
    assert frame.endswith('demo.py", line 4, in <module>')
    assert "check_import" not in result.output
    assert "importlib" not in result.output


@pytest.mark.parametrize("python", every_python())
def test_syntax_error_is_shown(attempt: Try, python: str) -> None:
    """A module that the Python cannot parse fails with the line that is wrong."""
    result = attempt("fine = 1\nexec 'no'\n", python=python)
    assert result.verdict.reason is Reason.IMPORT_ERROR
    assert result.verdict.detail.startswith("SyntaxError: ")
    assert "exec 'no'" in result.output
    assert "check_import" not in result.output


@pytest.mark.parametrize("python", every_python())
def test_environment_is_its_own(bases: Bases, way: Way, python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix, path, HOME, TMPDIR and directory are the combination's, and no variable is the user's."""
    for name in ("SECRET_TOKEN", "PYTHONPATH", "PYTHONSTARTUP", "GIT_DIR", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/the/user's")
    code = """
        import json, os, sys, tempfile
        told = {
            "variables": dict(os.environ), "prefix": sys.prefix, "argv": sys.argv, "cwd": os.getcwd(), "path": sys.path,
            "tmp": tempfile.gettempdir(), "home": os.path.expanduser("~"), "flags": [sys.flags.dont_write_bytecode],
        }
        raise SystemExit(json.dumps(told))
    """
    wheel = filed(bases.cache, "asking", "1.0", {"asking.py": textwrap.dedent(code)})
    with way.composed(python, environment(wheel)) as composed:
        result = way.run(combo(python=bases.pythons[python], package="asking"), environment(wheel), composed, LIMITS)
    told = json.loads(result.output.partition("SystemExit: ")[2])
    assert "/the/user's" not in told["variables"].values()
    assert told["variables"].pop("PATH").startswith(f"{composed.prefix}/bin:/")
    assert told.pop("variables") == {
        **SHARING,
        "HOME": composed.home,
        "TMPDIR": composed.tmp,
        "PWD": composed.cwd,
        "VIRTUAL_ENV": composed.prefix,
        "LANG": "C.UTF-8",
    }
    assert composed.site in told["path"]
    assert not [entry for entry in told.pop("path") if entry in (composed.cwd, str(Path(__file__).parent))]
    assert told == {
        "prefix": composed.prefix,
        "argv": ["-c"],
        "cwd": composed.cwd,
        "tmp": composed.tmp,
        "home": composed.home,
        "flags": [0],
    }


@pytest.mark.parametrize("python", [next(iter(pythons())), LATEST])
def test_own_directories(bases: Bases, way: Way, python: str) -> None:
    """HOME, TMPDIR and the directory are outside of the environment, private, writable and empty, and sockets' paths fit."""
    code = """
        import os, pwd, socket, sys, tempfile
        own = [os.path.expanduser("~"), tempfile.gettempdir(), os.getcwd()]
        for place in own:
            assert not os.path.realpath(place).startswith(os.path.realpath(sys.prefix)), place
            assert os.access(place, os.W_OK) and os.path.realpath(place) == place, place
            assert "left" not in os.listdir(place), place
            open(os.path.join(place, "left"), "w").close()
        assert own[:2] == ["/home/user", "/tmp"] or "{level}" != "3", own
        assert pwd.getpwuid(os.getuid()).pw_dir == own[0] or "{level}" != "3"
        if "{level}" == "3":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(os.path.join(own[1], "x" * 100))
        assert os.path.basename(own[2]) == "{name}", own
    """
    for name in ("work", "pkg", "again"):
        module = textwrap.dedent(code).replace("{name}", name).replace("{level}", str(way.level))
        wheel = filed(bases.cache, "owned", f"1.{len(name)}.{way.level}", {"owned.py": module})
        place = {"work": "", "pkg": "top/below/pkg"}.get(name, name)
        chosen = dataclasses.replace(environment(wheel), place=place)
        with way.composed(python, chosen) as composed:
            tried = combo(python=bases.pythons[python], package="owned", version=wheel.version)
            result = way.run(tried, chosen, composed, LIMITS)
        assert summary(result) == (Outcome.PASSED, None, ""), result.output


def test_machine_is_like_others(attempt: Try) -> None:
    """The machine and the user have names that can be looked up, as everywhere."""
    code = """
        import getpass, grp, locale, os, pathlib, pwd, socket
        assert socket.gethostbyname("localhost") == "127.0.0.1"
        assert not {resolves} or socket.gethostbyname(socket.gethostname())
        assert pwd.getpwnam(getpass.getuser()).pw_uid == os.getuid() == pwd.getpwuid(os.getuid()).pw_uid
        assert grp.getgrgid(os.getgid()).gr_name
        assert pathlib.Path("/usr/bin/env").owner() and pathlib.Path("/usr/bin/env").group()
        assert locale.setlocale(locale.LC_ALL, "") and locale.getpreferredencoding() == "UTF-8"
        assert open("/etc/hosts").read()
    """
    try:
        resolves = bool(socket.gethostbyname(socket.gethostname()))
    except OSError:
        resolves = False
    assert summary(attempt(code.replace("{resolves}", str(resolves)))) == (Outcome.PASSED, None, "")


# -- modules that do something --------------------------------------------------------------------------------------------

STRANGE = """
    class Meta(type):
        __module__ = property(lambda kind: 1 / 0)
    class Strange(Exception, metaclass=Meta): pass
    raise Strange("odd")
"""
UNTOLD = "(its message cannot be had)"
CODES: dict[str, tuple[str, Outcome, Reason | None, str]] = {
    "prints": ("print('x' * 10000)", Outcome.PASSED, None, ""),
    "exits": ("import sys; sys.exit()", Outcome.FAILED, Reason.IMPORT_ERROR, "SystemExit"),
    "exits well": ("import sys; sys.exit(0)", Outcome.FAILED, Reason.IMPORT_ERROR, "SystemExit: 0"),
    "exits by name": ("exit('bye')", Outcome.FAILED, Reason.IMPORT_ERROR, "SystemExit: bye"),
    "interrupts": ("raise KeyboardInterrupt", Outcome.FAILED, Reason.IMPORT_ERROR, "KeyboardInterrupt"),
    "base exception": (
        "class Odd(BaseException): pass\nraise Odd('told')",
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "demo.Odd: told",
    ),
    "no message": (
        "class Odd(Exception):\n def __str__(self): raise ValueError\nraise Odd",
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        f"demo.Odd: {UNTOLD}",
    ),
    "message exits": (
        "class Odd(Exception):\n def __str__(self): raise SystemExit\nraise Odd",
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        f"demo.Odd: {UNTOLD}",
    ),
    "no name": (STRANGE, Outcome.FAILED, Reason.IMPORT_ERROR, "BaseException: odd"),
    "lines": ("raise ImportError('\\n one\\ntwo')", Outcome.FAILED, Reason.IMPORT_ERROR, "ImportError: one"),
    "zero bytes": ("raise ImportError('a\\0b')", Outcome.FAILED, Reason.IMPORT_ERROR, "ImportError: a?b"),
    "surrogates": ("raise ImportError('\\udcff')", Outcome.FAILED, Reason.IMPORT_ERROR, "ImportError: \\udcff"),
    "escapes": (
        "raise ImportError('\\x1b[2J')",
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "ImportError: \N{REPLACEMENT CHARACTER}[2J",
    ),
    "asks": ("input()", Outcome.FAILED, Reason.IMPORT_ERROR, "EOFError: EOF when reading a line"),
    "leaves": (
        "import os; os._exit(0)",
        Outcome.CRASHED,
        Reason.SILENT_EXIT,
        "exit status 0 in the middle of the import",
    ),
    "leaves with status": (
        "import os; os._exit(3)",
        Outcome.CRASHED,
        Reason.SILENT_EXIT,
        "exit status 3 in the middle of the import",
    ),
    "ends badly": (
        "import atexit, os; atexit.register(os._exit, 7)",
        Outcome.FAILED,
        Reason.IMPORT_ERROR,
        "imported, then ended with exit status 7",
    ),
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        Outcome.CRASHED,
        Reason.SIGSEGV,
        "killed by signal 11 (SIGSEGV)",
    ),
    "aborts": ("import os; os.abort()", Outcome.CRASHED, Reason.SIGABRT, "killed by signal 6 (SIGABRT)"),
    "crashes at the end": (
        "import atexit, os; atexit.register(os.abort)",
        Outcome.CRASHED,
        Reason.SIGABRT,
        "killed by signal 6 (SIGABRT)",
    ),
    "forks": ("import os; os.fork()", Outcome.PASSED, None, ""),
    "child fails": (
        "import os\npid = os.fork()\nif pid == 0: raise ValueError\nos.waitpid(pid, 0)",
        Outcome.PASSED,
        None,
        "",
    ),
    "no core": (
        "import resource\nassert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)",
        Outcome.PASSED,
        None,
        "",
    ),
    "fills memory": (
        "found = []\nwhile True: found.append(bytearray(1 << 12))",
        Outcome.KILLED,
        Reason.OUT_OF_MEMORY,
        "MemoryError (limit 256 MiB)",
    ),
    "maps memory": (
        "import mmap\nkept = [mmap.mmap(-1, 1 << 26, mmap.MAP_PRIVATE) for _ in range(8)]",
        Outcome.KILLED,
        Reason.OUT_OF_MEMORY,
        "OSError: [Errno 12] Cannot allocate memory (limit 256 MiB)",
    ),
    "own memory error": (
        "class ArrayMemoryError(MemoryError): pass\nraise ArrayMemoryError('1 TiB')",
        Outcome.KILLED,
        Reason.OUT_OF_MEMORY,
        "demo.ArrayMemoryError: 1 TiB (limit 256 MiB)",
    ),
    "fills a file": (
        "with open('big', 'wb') as file: file.write(bytes(1 << 21))",
        Outcome.KILLED,
        Reason.ENVIRONMENT_FULL,
        "OSError: [Errno 27] File too large (limit 1024 MiB, 1 MiB a file)",
    ),
    "floods": (
        "while True: print('x' * 1000)",
        Outcome.KILLED,
        Reason.LOG_LIMIT,
        "more than 1 MiB of output",
    ),
}


@pytest.mark.parametrize("name", CODES)
def test_module_that_does_something(attempt: Try, name: str) -> None:
    """What a module does while it is imported decides outcome, reason and detail."""
    code, *expected = CODES[name]
    assert summary(attempt(code)) == tuple(expected)


@pytest.mark.parametrize("python", every_python())
def test_memory_is_left_to_tell_of_its_end(attempt: Try, python: str) -> None:
    """A module that fills the memory to the last byte is out of memory on every Python, not silent."""
    limits = Limits(memory=64 << 20)
    result = attempt("found = []\nwhile True: found.append(bytearray(64))", python=python, limits=limits)
    assert summary(result) == (Outcome.KILLED, Reason.OUT_OF_MEMORY, "MemoryError (limit 64 MiB)")
    assert result.output.endswith("MemoryError\n")


def test_hang_is_a_timeout(attempt: Try) -> None:
    """A module that does not come to an end is killed after the time limit, and what it said is kept."""
    limits = Limits(timeout=1, memory=256 << 20)
    result = attempt("import time; print('waiting', flush=True); time.sleep(600)", limits=limits)
    assert summary(result) == (Outcome.KILLED, Reason.TIMEOUT, "no end after 1 s")
    assert result.output == "waiting\n"


def test_huge_message_is_cut(attempt: Try) -> None:
    """A message of many megabytes is still an import error, in a line that can be read."""
    result = attempt("raise ImportError('\\U0001f642' * 2_000_000)")
    assert result.verdict.reason is Reason.IMPORT_ERROR
    assert result.verdict.detail == "ImportError: " + "\U0001f642" * 500
    assert len(result.output) == 8192


def test_traceback_begins_on_a_line_of_its_own(attempt: Try) -> None:
    """What a module printed without ending the line does not run into the traceback."""
    result = attempt("print('half a line', end=''); raise ImportError('x')")
    assert result.output.startswith("half a line\nTraceback (most recent call last):\n")


def test_frames_of_importlib_something_are_shown(attempt: Try) -> None:
    """A package whose name begins like the import system's keeps its frames."""
    result = attempt("import nowhere", name="importlib_metadata")
    assert 'importlib_metadata.py", line 1, in <module>' in result.output


@pytest.mark.parametrize("name", ["RESULT", "LIFELINE"])
def test_any_name_can_be_imported(attempt: Try, name: str) -> None:
    """No name of a module is taken for a word of ours."""
    assert attempt("", name=name).verdict.outcome is Outcome.PASSED


def test_modules_are_imported_in_order_up_to_the_first_that_fails(attempt: Try) -> None:
    """Every public module is imported, and what comes after a failing one is not."""
    result = attempt("print('first')", "print('second'); import nowhere", "print('third')")
    assert result.verdict.reason is Reason.IMPORT_ERROR
    assert result.output.startswith("first\nsecond\nTraceback")


def test_wheel_without_modules_passes(bases: Bases, way: Way) -> None:
    """A wheel that installs nothing to import passes, and the detail says so."""
    wheel = filed(bases.cache, "empty", "1.0", {})
    with way.composed(LATEST, environment(wheel)) as composed:
        result = way.run(combo(python=bases.pythons[LATEST], package="Empty"), environment(wheel), composed, LIMITS)
    assert summary(result) == (Outcome.PASSED, None, "it installs no public module")


def test_wrong_metadata_fail_before_anything_runs(bases: Bases, way: Way) -> None:
    """An environment whose metadata name another version fails as bad metadata; nothing is imported."""
    wheel = filed(bases.cache, "demo", "2.0", {"demo.py": "print('imported')"})
    with way.composed(LATEST, environment(wheel)) as composed:
        result = way.run(combo(python=bases.pythons[LATEST], version="2.1"), environment(wheel), composed, LIMITS)
    assert summary(result) == (
        Outcome.FAILED,
        Reason.BAD_METADATA,
        "installed metadata name demo 2.0, not demo 2.1",
    )
    assert (result.verdict.phase, result.output) == (Phase.INSTALL, "")


def test_interpreter_that_cannot_start_is_no_result(bases: Bases, tmp_path: Path) -> None:
    """Where there is no interpreter the runner raises: that says nothing about the package."""
    site = tmp_path / "demo-1.0.dist-info"
    site.mkdir()
    (site / "METADATA").write_text("Name: demo\nVersion: 1.0\n")
    here = str(tmp_path)
    composed = Composed(here, "/nowhere/python", here, here, here, here, here)
    wheel = filed(bases.cache, "demo", "1.0", {})
    with pytest.raises(FileNotFoundError):
        AloneRunner(check_runner_of(Check(), network=False), Sandbox(1)).run(
            combo(), Environment((wheel,), ""), composed, LIMITS
        )
