"""Warm children: they look like a fresh interpreter, whatever their server has learned from those before them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.compose.layers import Layers
from pytest_spip.model import Limits, Outcome, Result, Sandbox
from pytest_spip.run.check_runners import child_environment
from pytest_spip.run.closures import SCRIPT, ClosureFinder, closures_path
from pytest_spip.run.forked import ForkRunner
from pytest_spip.run.server import ForkServer, Setup
from tests.support.machine import eventually
from tests.support.rooms import Bases, alive, combo, environment, every_python, filed
from tests.support.ways import OWNER, Way, must_work, shared_way

pytestmark = pytest.mark.usefixtures("adopted")

LIMITS = Limits(timeout=60, memory=512 << 20)
STATE = """
    import sys
    modules = sorted(sys.modules)
    main = sys.modules["__main__"]
    known = {name: str(value) for name, value in vars(main).items()}
    frame, frames = sys._getframe(), []
    while frame:
        frames.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    import json, os, signal, threading, warnings
    told = {
        "modules": modules,
        "argv": sys.argv,
        "path": sys.path,
        "finders": [str(finder) for finder in sys.meta_path if type(finder).__name__ != "HiddenModules"],
        "hooks": len(sys.path_hooks),
        "flags": str(sys.flags),
        "known": known,
        "order": list(known),
        "frames": [entry for entry in frames if "importlib" not in entry[0]][1:],
        "typed": getattr(sys, "orig_argv", []),
        "interactive": [hasattr(sys, name) for name in ("__interactivehook__", "ps1", "last_type")],
        "lines": str(getattr(sys.modules.get("linecache"), "cache", {})) if "linecache" in modules else "",
        "bytecode": sys.dont_write_bytecode,
        "hooked": sys.excepthook is sys.__excepthook__ and sys.displayhook is sys.__displayhook__,
        "builtins": sorted(vars(sys.modules["builtins"])),
        "current": len(sys._current_frames()),
        "identity": threading.main_thread().ident == threading.get_ident(),
        "main": sys.modules["__main__"].__name__,
        "filters": [str(one) for one in warnings.filters],
        "signals": [str(signal.getsignal(number)) for number in range(1, 32) if number not in (9, 19)],
        "masked": sorted(map(str, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "threads": [thread.name for thread in threading.enumerate()],
        "main thread": threading.main_thread() is threading.current_thread(),
        "native": getattr(threading.main_thread(), "native_id", os.getpid()) == os.getpid(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "session": os.getsid(0) == os.getpid(),
        "directory": os.getcwd(),
        "umask": os.umask(0o22),
        "variables": dict(os.environ),
        "recursion": sys.getrecursionlimit(),
        "tracing": [sys.gettrace(), sys.getprofile()],
        "streams": [sys.stdin.encoding, sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdout.isatty()],
        "layers": [type(stream.buffer).__name__ for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "names": [sys.stdin.name, sys.stdout.name, sys.stderr.name],
        "executable": sys.executable,
    }
    raise SystemExit(json.dumps(told))
"""
Try = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def _no_server_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    for name in ("warm-1", "cold-1", "warm-3", "cold-3"):
        shared_way(tmp_path_factory.getbasetemp(), name).runner.close()


@pytest.fixture
def attempt(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> Try:
    """Return a function that imports a module in some way."""

    def attempt(code: str, python: str, way: str = "warm-1", files: dict[str, str] | None = None) -> Result:
        chosen: Way = shared_way(tmp_path_factory.getbasetemp(), way)
        must_work(chosen.level)
        wheel = filed(bases.cache, "demo", "1.0", {"demo.py": textwrap.dedent(code), **(files or {})})
        with chosen.composed(python, environment(wheel)) as composed:
            return chosen.run(combo(python=bases.pythons[python]), environment(wheel), composed, LIMITS)

    return attempt


def differences(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    """Return what differs between two states."""
    return {key: (value, other.get(key)) for key, value in one.items() if value != other.get(key)}


def in_common(state: dict[str, object], own: str, other: str) -> dict[str, object]:
    """Return a state as it would be in another environment."""
    plain: dict[str, object] = json.loads(json.dumps(state).replace(own, other))
    return plain


def told(result: Result) -> dict[str, object]:
    """Return what a module told as it exited."""
    found = result.output.partition("SystemExit: ")[2]
    assert found, result.verdict.detail + result.output
    plain: dict[str, object] = json.loads(found)
    return plain


@pytest.mark.parametrize("level", [1, 3])
@pytest.mark.parametrize("python", every_python())
def test_a_warm_child_looks_like_a_fresh_interpreter(attempt: Try, python: str, level: int) -> None:
    """After others have imported much, a module sees the modules, handlers, threads and settings of a cold start."""
    attempt("import json, logging, random, tempfile, threading, unittest", python, f"warm-{level}")
    warm, cold = (told(attempt(STATE, python, f"{kind}-{level}")) for kind in ("warm", "cold"))
    assert str(differences(in_common(warm, f"warm-{level}", f"cold-{level}"), cold)) == "{}"


@pytest.mark.parametrize("python", every_python())
def test_a_cold_child_looks_like_an_import_by_hand(
    bases: Bases, tmp_path_factory: pytest.TempPathFactory, python: str
) -> None:
    """All that a module can see is as with ``python -c "import it"`` in the environment, but for what the sandbox changes."""
    way: Way = shared_way(tmp_path_factory.getbasetemp(), "cold-1")
    wheel = filed(bases.cache, "demo", "1.0", {"demo.py": textwrap.dedent(STATE)})
    with way.composed(python, environment(wheel)) as composed:
        cold = told(way.run(combo(python=bases.pythons[python]), environment(wheel), composed, LIMITS))
        command = [composed.python, "-c", "import demo"]
        hand = subprocess.run(
            command,
            env=child_environment(composed),
            cwd=composed.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            check=False,
        )
    by_hand = json.loads(hand.stdout)
    del cold["descriptors"], by_hand["descriptors"]  # there are two more, for the result
    assert str(differences(cold, by_hand)) == "{}"


@pytest.mark.parametrize("python", every_python())
def test_a_forgotten_import_fails_warm_too(attempt: Try, python: str) -> None:
    """What another package imported is not there for one that forgot to: neither module nor attribute."""
    assert attempt("import unittest.mock, logging.handlers", python).verdict.outcome is Outcome.PASSED
    for code in ("import logging; logging.handlers", "import sys; sys.modules['logging']", "unittest"):
        assert attempt(code, python).verdict.outcome is Outcome.FAILED, code
    assert attempt("import logging.handlers; logging.handlers.RotatingFileHandler", python).verdict.detail == ""


@pytest.mark.parametrize("python", every_python())
def test_learned_modules_work(attempt: Try, python: str) -> None:
    """Modules that a server learned work in the next child as they do in a fresh interpreter, threads and forks included."""
    code = """
        import json, logging, os, random, tempfile, threading, unittest
        assert json.loads("[1]") == [1]
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        child = os.fork()
        if not child:
            os._exit(threading.active_count() - 1)
        assert os.waitpid(child, 0)[1] == 0
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        logging.getLogger("x").warning("said")
        raise SystemExit(json.dumps({"drawn": random.random()}))
    """
    drawn = {str(told(attempt(code, python))["drawn"]) for _ in range(4)}
    assert len(drawn) == 4, "children draw the same numbers"


def test_a_module_of_ones_own_comes_first_where_it_does_cold(attempt: Try) -> None:
    """A package that puts a directory before the library's gets its own module, though the server knows the library's."""
    files = {"_vendored/json.py": "mine = True\n", "_vendored/__init__.py": ""}
    code = """
        import os, sys
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "_vendored"))
        import json
        assert json.mine
    """
    newest = list(every_python())[-1]
    attempt("import json", newest)
    for way in ("warm-1", "cold-1"):
        assert attempt(code, newest, way, files).verdict.outcome is Outcome.PASSED


@pytest.mark.parametrize("way", ["warm-1", "cold-1", "warm-3"])
@pytest.mark.parametrize("python", every_python())
def test_what_site_packages_starts_is_started(attempt: Try, python: str, way: str) -> None:
    """A wheel's .pth files, the directories they name, and its sitecustomize take effect before its modules are imported.

    A virtual environment's start runs the lines of .pth files twice, the last time before ``exit`` is there.
    """
    files = {
        "early.pth": "deep\nimport builtins; builtins.lined = getattr(builtins, 'lined', '') + 'a'\n"
        "import builtins; builtins.lined += 'b'; builtins.exits = hasattr(builtins, 'exit')\n",
        "deep/inside.py": "",
        "sitecustomize.py": "import builtins; builtins.customized = builtins.lined",
    }
    code = "import builtins, inside; assert (builtins.customized, builtins.exits) == ('abab', False), builtins.lined"
    assert attempt(code, python, way, files).verdict.outcome is Outcome.PASSED


@pytest.mark.parametrize("python", every_python())
def test_a_server_is_compiled_once(bases: Bases, tmp_path: Path, python: str) -> None:
    """A server's own files are compiled into the directory for that, and found there by the next one."""
    kept, found = tmp_path / "pycache", []
    setup = Setup(1, str(tmp_path), {}, pycache=str(kept))
    for _ in range(2):
        ForkServer(bases.pythons[python].path, setup).close()
        found.append({path.name.partition(".")[0]: path.stat().st_ino for path in kept.rglob("*.pyc")})
    assert found[0] == found[1]
    assert {"serving", "child_main", "sandbox"} <= set(found[0]) or python == "3.7"


def test_closures_are_found_of_all_interpreters(bases: Bases, tmp_path: Path) -> None:
    """Who waits for the closures gets those of all interpreters; who does not keeps nothing that is half done."""
    cache, pythons = Cache(tmp_path / "cache"), list(bases.pythons.values())[-3:]
    ClosureFinder(pythons, cache).close(now=True)
    paths = [closures_path(python, cache) for python in pythons]
    assert not any(path.exists() for path in paths)
    finder = ClosureFinder(pythons, cache)
    finder.close()
    assert all("asyncio.events" in json.loads(path.read_text()) for path in paths)


def test_a_server_gives_way_when_closures_are_found(
    bases: Bases, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A server that was started before the closures were known is followed by one that knows them, and forks warm children."""
    newest = list(every_python())[-1]
    way, python = shared_way(tmp_path_factory.getbasetemp(), "cold-1"), bases.pythons[newest]
    closures = tmp_path / "closures.json"
    places = tmp_path / "view", "", {python.id: closures}, Limits(), tmp_path / "pycache"
    wheel = filed(bases.cache, "demo", "1.0", {"demo.py": "import json"})
    tried = combo(python=python), environment(wheel)
    with (
        contextlib.closing(ForkRunner(way.check_runner, Sandbox(1), *places)) as runner,
        way.composed(newest, environment(wheel)) as composed,
    ):
        assert not runner.warms(tried[0], composed)
        assert runner.run(*tried, composed, LIMITS, warm=False).runner == "cold"
        with closures.open("wb") as out:
            subprocess.run([python.path, "-I", "-S", "-B", SCRIPT, "json"], check=True, stdout=out, env={})
        assert runner.warms(tried[0], composed)
        result = runner.run(*tried, composed, LIMITS, warm=True)
    assert (result.runner, result.verdict.outcome) == ("warm", Outcome.PASSED)


WORKER = """
import sys, time
from pytest_spip.run.server import ForkServer, Setup
server = ForkServer(sys.executable, Setup(3, sys.argv[1], {}))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_stopped_server_goes_with_its_worker(tmp_path: Path) -> None:
    """A server that was stopped cannot hear that its worker was killed, and is killed all the same, inside and outside."""
    must_work(3)
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        servers = psutil.Process(worker.pid).children(recursive=True)
        for server in servers:
            server.suspend()
        worker.kill()
    assert len(servers) == 2
    assert eventually(lambda: not any(alive(server.pid) for server in servers))


DEAF = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from pytest_spip.model import Limits
from pytest_spip.run.jobs import CommandJob
from pytest_spip.run.server import ForkServer, Setup
server = ForkServer(sys.argv[1], Setup(3, sys.argv[2], {}))
code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
print(server.run(CommandJob(cwd="/", limits=Limits(), command=(sys.argv[1], "-c", code), variables={})).output)
server.close()
"""


@pytest.mark.parametrize("python", every_python())
def test_what_ignores_interrupts_has_children_that_do(python: str, bases: Bases, tmp_path: Path) -> None:
    """Where interrupts are ignored from the beginning, as in the background of a shell, they are in a child, which starts."""
    must_work(3)
    words = [sys.executable, "-c", DEAF, bases.pythons[python].path, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_a_child_cannot_teach_what_is_not_the_librarys(attempt: Try) -> None:
    """Names that a package puts into sys.modules are not imported by the server for the next one."""
    newest = list(every_python())[-1]
    spoiled = "import sys, types; sys.modules['antigravity'] = sys.modules['json'] = types.ModuleType('json')"
    attempt(spoiled, newest)
    code = "import sys; assert 'antigravity' not in sys.modules; import json; json.loads"
    assert attempt(code, newest).verdict.outcome is Outcome.PASSED


def test_bytecode_is_made_for_what_is_met_again(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The second time a wheel is met, what it imports is compiled beside it; from the third on it is used; results agree."""
    must_work(3)
    way = shared_way(tmp_path_factory.getbasetemp(), "warm-3")
    newest = list(every_python())[-1]
    wheel = filed(bases.cache, "bytes", "1.0", {"compiled/__init__.py": "made = 1\n", "compiled/idle.py": ""})
    states = []
    for _ in range(3):
        with way.composed(newest, environment(wheel)) as composed:
            made = combo(package="bytes", python=bases.pythons[newest])
            assert way.run(made, environment(wheel), composed, LIMITS).verdict.outcome is Outcome.PASSED
            bytecode = way.runner.bytecode(made, composed, LIMITS, way.runner.imported(composed))
            states.append((bool(composed.uncompiled), sorted(bytecode), composed.layers))
            way.compile(composed, bytecode)
    (first, none, _), (second, some, plain), (third, nothing, compiled) = states
    assert (first, none) == (False, [])
    assert second
    assert [Path(path).name.partition(".")[0] for path in some] == ["__init__"]
    assert (third, nothing) == (False, [])
    assert compiled == (f"{plain[0]}c",)


def test_only_what_lacks_bytecode_is_compiled(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of what a combination imports, the sources of layers that bear bytecode, or bear none for now, are left alone."""
    must_work(3)
    way = shared_way(tmp_path_factory.getbasetemp(), "warm-3")
    newest = list(every_python())[-1]
    common = filed(bases.cache, "common", "1.0", {"common.py": ""})
    users = [filed(bases.cache, f"user{n}", "1.0", {f"user{n}.py": f"import common\nn = {n}\n"}) for n in (1, 2)]
    layers = Layers(bases.cache, OWNER)
    for user in (users[0], users[0], users[1], users[1]):
        with way.composed(newest, environment(user, common)) as composed:
            made = combo(package=user.name, python=bases.pythons[newest])
            assert way.run(made, environment(user, common), composed, LIMITS).verdict.outcome is Outcome.PASSED
            imported = way.runner.imported(composed)
            wanted = layers.sources(composed.uncompiled, imported)
            if wanted:
                way.compile_wheels([user, common], made, composed, LIMITS)
    assert sorted(Path(path).name for path in imported) == ["common.py", "user2.py"]
    assert [Path(path).name for path in wanted] == ["user2.py"]
    assert layers.sources((), imported) == ()


def test_bytecode_is_made_while_there_is_time(bases: Bases, tmp_path: Path) -> None:
    """Whoever has nothing else to do makes bytecode for what is met first; others make it when that is met again."""
    newest = bases.pythons[list(every_python())[-1]]
    wheel = filed(bases.cache, "early", "1.0", {"early.py": ""})
    for has_time in (True, False):
        layers = Layers(Cache(tmp_path / f"cache-{has_time}"), 0, lambda has_time=has_time: has_time)  # type: ignore[misc]
        plain = layers.name((wheel,), newest)
        assert layers.uncompiled([plain]) == ((plain,) if has_time else ())
        assert not layers.is_met_again(plain)
        assert layers.uncompiled([layers.name((wheel,), newest)]) == (plain,)
        assert layers.is_met_again(plain)


def test_a_forgotten_layer_is_found_again(bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that remembers few layers names them as one that remembers all, compiled ones too."""
    monkeypatch.setattr("pytest_spip.compose.layers.REMEMBERED", 1)
    layers = Layers(Cache(tmp_path / "cache"), 0)
    newest = bases.pythons[list(every_python())[-1]]
    one, other = (filed(bases.cache, name, "1.0", {f"{name}.py": ""}) for name in ("one", "other"))
    plain = layers.name((one,), newest)
    assert layers.name((other,), newest) != plain
    assert layers.name((one,), newest) == plain
    assert layers.uncompiled([plain]) == (plain,)
    layers.compile(plain, {})
    assert [layers.name((wheel,), newest) for wheel in (other, one)][1] == f"{plain}c"
