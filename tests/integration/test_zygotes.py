"""Suites in forks of a process that has pytest loaded: they show what cold programs show, and leave nothing to the next."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_spip.model import Check, Composed, Limits, Outcome, Result, StoredWheel, digest
from pytest_spip.run.runner import NONE
from pytest_spip.run.zygotes import zygotes_of
from tests.support.rooms import Bases, adopting, combo, environment, every_python, filed, filed_pytest
from tests.support.ways import must_work, shared_way

LIMITS = Limits(timeout=60, memory=512 << 20, file_size=1 << 20, output=1 << 20)
PYTHONS = [version for version in every_python() if int(version.partition(".")[2]) >= 11]
"""Those that can run the pytest of this environment without the backports that it would need."""
LATEST = PYTHONS[-1]
TRACING = importlib.metadata.distribution("pluggy").locate_file("pluggy/_tracing.py").read_text()
SUITE = Check("suite")
Try = Callable[..., Result]

ALL = """\
    import os, sys
    import pytest
    import demo

    def test_good(): assert demo.answer == 42
    def test_bad(): assert demo.answer == 41
    @pytest.fixture
    def broken(): raise RuntimeError("in the fixture")
    def test_error(broken): pass
    @pytest.fixture
    def late():
        yield
        raise RuntimeError("after the test")
    def test_late(late): pass
    @pytest.mark.skip
    def test_skipped(): pass
    @pytest.mark.xfail
    def test_known(): assert False
    @pytest.mark.xfail
    def test_mended(): pass
    def test_exit(): sys.exit(3)
    def test_registered(registered): assert registered == 1
    def test_plugin(plugged): assert plugged == 2
    def test_rewritten_plugin(plugged):
        import plug
        plug.check(plugged)
    def test_output(capfd):
        os.write(1, b"said")
        assert capfd.readouterr().out == "said"
    def test_forgotten(): assert "logging.handlers" not in sys.modules
"""
FILES = {
    "conftest.py": """\
        class Registered:
            import pytest
            @pytest.fixture
            def registered(self): return 1
        def pytest_configure(config): config.pluginmanager.register(Registered())
    """,
    "test_all.py": ALL,
}
PLUGIN = """\
import pytest
@pytest.fixture
def plugged():
    return 2
def check(value):
    assert value == 3
"""
STATE = """\
    import json, multiprocessing, os, signal, sys, threading, warnings
    import pytest

    NAMES = sorted(name for name in sys.modules if not name.startswith("test_"))
    OWN = ("PYTEST_CURRENT_TEST",)

    def tell(what): raise AssertionError(json.dumps(what, default=str))
    @pytest.mark.parametrize("part", range(16))
    def test_modules(part): tell(NAMES[part::16])
    def test_arguments():
        tell([sys.argv, getattr(sys, "orig_argv", ())[:3]])
    def test_flags(): tell([sys.flags, sys.warnoptions, sys.dont_write_bytecode, sys.executable, sys.prefix])
    def test_path(): tell([sys.path, [type(one).__name__ for one in sys.path_hooks]])
    def test_finders(): tell([getattr(one, "__name__", type(one).__name__) for one in sys.meta_path])
    def test_main():
        main = sys.modules["__main__"]
        tell([main.__name__, main.__file__, main.__spec__, main.__package__, sorted(vars(main))])
    def test_signals(): tell([signal.getsignal(number) for number in range(1, 32) if number not in (9, 19)])
    def test_threads():
        main = threading.main_thread()
        tell([[one.name for one in threading.enumerate()], main is threading.current_thread(), main.native_id == os.getpid()])
    def test_process():
        tell([os.getppid(), os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), os.getcwd(), os.umask(0o22)])
    def test_descriptors(): tell(len(os.listdir("/proc/self/fd")))
    def test_variables(): tell({name: value for name, value in os.environ.items() if name not in OWN})
    def test_streams(): tell([sys.__stdout__.encoding, sys.__stdout__.write_through, sys.__stdin__.read(), sys.__stdout__.name])
    def test_recursion(): tell([sys.getrecursionlimit(), sys.gettrace()])
    def test_limits():
        import resource
        tell([resource.getrlimit(number) for number in range(16) if number != resource.RLIMIT_MSGQUEUE])
    def test_rights():
        names = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp:", "Uid", "Gid", "Groups")
        tell([line for line in open("/proc/self/status") if line.startswith(names)])
    def test_files(): tell(sorted(os.listdir(sys.prefix)) + sorted(os.listdir("/tmp")) + sorted(os.listdir("/")))
    def test_spawn():
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            tell(pool.map(abs, [-1]))
"""


@pytest.fixture(params=[False, True], ids=["loaded", "begun"])
def begun(request: pytest.FixtureRequest) -> bool:
    """Whether zygotes begin the suites' sessions, or have pytest loaded and no more."""
    return bool(request.param)


@pytest.fixture
def attempt(tmp_path_factory: pytest.TempPathFactory, bases: Bases, *, begun: bool) -> Iterator[Try]:
    """Return a function that runs a suite in some way; ``warm`` tells whether it did not need a program, or None."""
    must_work(3)
    made = adopting()
    next(made)
    way = shared_way(tmp_path_factory.getbasetemp(), "warm-3", SUITE, shared=begun)
    trees: dict[str, Path] = {}

    def attempt(
        files: Mapping[str, str],
        *more: StoredWheel,
        warm: bool = True,
        forked: bool | None = None,
        python: str = LATEST,
    ) -> Result:
        known = digest(dict(files))
        if known not in trees:
            trees[known] = tmp_path_factory.mktemp("tree")
            for name, text in files.items():
                (trees[known] / name).write_text(textwrap.dedent(text))
        demo = filed(bases.cache, "demo", "1.0", {"demo.py": "answer = 42\n"})
        loaded = filed_pytest(bases.cache)
        wheels = [*loaded, demo, *more]
        chosen = dataclasses.replace(environment(*wheels), tree=str(trees[known]))
        with way.composed(python, chosen) as composed:
            tried = combo(python=bases.pythons[python])
            result = way.runner.run(tried, chosen, composed, LIMITS, warm=warm)
            way.compile_wheels(loaded, tried, composed, LIMITS)  # each suite would do it again
        assert result.runner == ("warm" if (warm if forked is None else forked) else "cold")
        return result

    yield attempt
    way.runner.close()
    next(made, None)


def shown(result: Result) -> object:
    """Return what a suite showed, but for times."""
    verdict = dataclasses.replace(result.verdict, detail=re.sub(r" in [0-9.]+s\b", "", result.verdict.detail))
    return verdict, {test.id: (test.outcome, test.detail) for test in result.tests}


@pytest.mark.parametrize("python", PYTHONS)
def test_warm_and_cold_agree(attempt: Try, bases: Bases, python: str) -> None:
    """A suite with every kind of outcome, a conftest and a plugin shows the same, words and all."""
    entry = "[pytest11]\nplug = plug\n"
    plugin = filed(bases.cache, "plug", "1.0", {"plug.py": PLUGIN}, entry_points=entry)
    warm, cold = (attempt(FILES, plugin, warm=how, python=python) for how in (True, False))
    assert shown(warm) == shown(cold)
    assert {test.outcome for test in warm.tests} == {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}


PLUGINS = """\
    def test_plugins(request):
        (begun,) = [one for one in request.config.pluginmanager.get_plugins() if getattr(one, "__name__", "") == "begun"] or [int]
        raise AssertionError([name for name in dir(begun) if name.startswith("pytest_")])
"""


def test_sessions_begin_as_far_as_nobody_has_a_say(attempt: Try, bases: Bases, *, begun: bool) -> None:
    """A zygote's session comes to collection, or to conftests where there are any; with plugins, or where it fails, nowhere."""

    def come_to(files: dict[str, str], *more: StoredWheel) -> str:
        return attempt({"test_plugins.py": PLUGINS, **files}, *more).tests[0].detail.partition("]")[0].partition("[")[2]

    plugin = filed(bases.cache, "plug", "1.0", {"plug.py": PLUGIN}, entry_points="[pytest11]\nplug = plug\n")
    pyargs, missing = ({"pytest.ini": f"[pytest]\naddopts = {option}\n"} for option in ("--pyargs .", "-p nosuch"))
    conftest = {"conftest.py": ""}
    assert come_to({}) == ("'pytest_collection'" if begun else "")
    assert come_to(conftest) == come_to(pyargs) == ("'pytest_load_initial_conftests'" if begun else "")
    assert come_to({}, plugin) == come_to(conftest, plugin) == ""
    failing = {**FILES, **missing}
    assert shown(attempt(failing)) == shown(attempt(failing, warm=False))


def test_no_wheel_brings_settings(attempt: Try, bases: Bases) -> None:
    """Settings that a wheel installs lie in the environment, and a tree without any lies elsewhere: they do not apply to it."""
    data = {"settings-1.0.data/data/pytest.ini": "[pytest]\naddopts = -k good\n"}
    other = filed(bases.cache, "settings", "1.0", data)
    files = {"test_it.py": "def test_good(): pass\ndef test_bad(): assert False\n"}
    assert len(attempt(files, other).tests) == 2
    assert shown(attempt(files, other)) == shown(attempt(files, other, warm=False))


@pytest.mark.parametrize(
    "end",
    [
        "import os; os._exit(3)",
        "pass\nimport nowhere",
        "import os; os.abort()",
        "import ctypes; ctypes.string_at(0)",
        "import pytest; pytest.exit('enough')",
        "raise KeyboardInterrupt",
        "import atexit, os; atexit.register(os._exit, 7)",
        "import atexit, os; atexit.register(os.abort)",
        "import os, threading; threading.Thread(target=lambda: (threading.main_thread().join(), os.abort())).start()",
    ],
)
def test_ends_agree(attempt: Try, end: str) -> None:
    """However a suite comes to its end, it comes to the same one."""
    files = {"test_end.py": f"def test_first(): pass\ndef test_end():\n    {end}\n"}
    warm, cold = (attempt(files, warm=how) for how in (True, False))
    assert shown(warm) == shown(cold)


LIARS = """\
    import sys, types

    class Liar:
        __class__ = types.ModuleType
    class Raiser:
        def __getattribute__(self, name): raise BaseException(name)
        __eq__ = __hash__ = __repr__ = __getattribute__
    class Strange(types.ModuleType):
        __dict__ = property(lambda self: 1 / 0)
        def __getattribute__(self, name): raise BaseException(name)
    def test_liars():
        bare = types.ModuleType.__new__(types.ModuleType)
        sys.modules.update(liar=Liar(), raiser=Raiser(), strange=Strange("strange"), bare=bare)
    def test_library():
        sys.modules.update(traceback=Raiser(), atexit=Raiser())
"""


def test_liars_among_modules(attempt: Try) -> None:
    """What tests put among modules may lie about its class, and raise whatever it is asked; nobody asks it, at no run."""
    for warm in (True, True, True, False, False):
        result = attempt({"test_liars.py": LIARS}, warm=warm)
        assert (result.verdict.outcome, len(result.tests)) == (Outcome.PASSED, 2), result.verdict


AGAIN = """\
import pytest
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    marker = item.get_closest_marker("again")
    if marker is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in (2, 1, 0):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = any(report.failed for report in reports)
        for report in reports:
            if report.failed and left:
                report.outcome = marker.args[0]
            item.ihook.pytest_runtest_logreport(report=report)
            if report.outcome == marker.args[0] and len(marker.args) > 1:
                break
        if not failed:
            break
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True

def pytest_report_teststatus(report):
    if report.outcome in ("rerun", "quarantined"):
        return report.outcome, "R", report.outcome.upper()
"""
OUTCOMES = """\
    import os, pytest, sys
    from _pytest.reports import TestReport
    COUNTS = {}
    def count(name):
        COUNTS[name] = COUNTS.get(name, 0) + 1
        return COUNTS[name]
    @pytest.mark.again("rerun")
    def test_second(): assert count("second") == 2
    @pytest.mark.again("rerun", "cut")
    def test_third(): assert count("third") == 3
    @pytest.mark.again("rerun")
    def test_never(): assert count("never") == 0
    @pytest.fixture
    def late(): assert count("late") == 2
    @pytest.mark.again("rerun", "cut")
    def test_setup(late): pass
    def test_plain(): pass
    def test_cache(request, cache):
        cache.set("spip/known", 1)
        assert request.config.cache.get("spip/known", 0) == 1
    @pytest.mark.dies
    def test_dies(): os.abort()
"""
DYING = """\
    import pytest
    from _pytest.reports import TestReport

    def pytest_runtest_protocol(item, nextitem):
        if item.get_closest_marker("dies"):  # as pytest-forked, and the controller of pytest-xdist
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            report = TestReport(item.nodeid, item.location, {}, "failed", "it crashed", "???")
            item.ihook.pytest_runtest_logreport(report=report)
            return True
"""
STRICT = """\
    [pytest]
    addopts = --strict-config --strict-markers --ff -p no:randomly
    cache_dir = .other
    filterwarnings = error
    markers =
        again: run it again
        dies: end the process
"""


def test_outcomes_of_plugins(attempt: Try, bases: Bases) -> None:
    """The last attempt counts, reruns are counted, a report without a part fails its test, and the cache is there."""
    again = filed(bases.cache, "again", "1.0", {"again.py": AGAIN}, entry_points="[pytest11]\nagain = again\n")
    files = {"test_it.py": OUTCOMES, "conftest.py": DYING, "pytest.ini": STRICT}
    for warm in (True, False):
        result = attempt(files, again, warm=warm)
        assert {test.id.partition("_it.py::test_")[2]: (test.outcome, test.reruns) for test in result.tests} == {
            "second": ("passed", 1),
            "third": ("passed", 2),
            "never": ("failed", 2),
            "setup": ("passed", 1),
            "plain": ("passed", 0),
            "cache": ("passed", 0),
            "dies": ("failed", 0),
        }, result.output


@pytest.mark.parametrize("python", PYTHONS)
def test_a_forked_suite_sees_a_fresh_process(attempt: Try, python: str) -> None:
    """Modules, arguments, flags, descriptors, rights, limits, files: tests see what they see in a program of their own."""
    warm, cold = (attempt({"test_state.py": STATE}, warm=how, python=python) for how in (True, False))
    told = [{test.id: test.detail.partition("\n")[0] for test in result.tests} for result in (warm, cold)]
    assert told[0] == told[1]
    assert all("AssertionError: " in detail for detail in told[0].values())


SPOILING = {
    "daemon": "import subprocess\n    subprocess.Popen(['sleep', '1000'], start_new_session=True)",
    "blocking": "import os\n    os.set_blocking(1, False); os.set_blocking(2, False)",
    "killing": "import os, signal\n    os.kill(-1, signal.SIGKILL)",
    "stopping": "import os, signal\n    os.kill(-1, signal.SIGSTOP)",
    "limits": (
        "import os, resource\n    for name in os.listdir('/proc'):\n"
        "        if name.isdigit() and int(name) not in (1, os.getpid()):\n"
        "            resource.prlimit(int(name), resource.RLIMIT_NOFILE, (4, 4))"
    ),
    "files": "open('/tmp/left', 'w').close(); open('/dev/shm/left', 'w').close(); open('left', 'w').close()",
}


@pytest.mark.parametrize("what", SPOILING)
def test_the_next_suite_does_not_suffer(attempt: Try, what: str, *, begun: bool) -> None:
    """Whatever a suite leaves, or does to processes that it finds, the next one passes and finds nothing."""
    attempt({"test_first.py": f"def test_first():\n    {SPOILING[what]}\n"})
    code = """\
        import os
        def test_next():
            found = [name for name in os.listdir("/proc") if name.isdigit()]
            assert not any("sleep" in open(f"/proc/{name}/comm").read() for name in found if os.path.exists(f"/proc/{name}/comm"))
            assert not any(map(os.path.exists, ("/tmp/left", "/dev/shm/left", "left")))
            assert os.get_blocking(1)
            [os.close(os.open("/dev/null", os.O_RDONLY)) for _ in range(64)]
    """
    # A zygote that has suffered is given up; another suite's session has another one.
    suffers = what == "limits" and not begun
    result = attempt({"test_next.py": code}, forked=False if suffers else None)
    assert result.verdict.outcome is Outcome.PASSED, result.tests
    assert attempt({"test_next.py": code}).verdict.outcome is Outcome.PASSED


QUEUE = """\
    import ctypes, os

    def test_queue():
        libc = ctypes.CDLL(None, use_errno=True)
        queue = libc.mq_open(b"/left", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, None)
        assert queue >= 0, os.strerror(ctypes.get_errno())
"""


def test_message_queues_are_for_cold_suites(attempt: Try) -> None:
    """A queue would outlive its suite in a zygote: there is none, and the cold run counts."""
    files = {"test_it.py": QUEUE}
    assert [attempt(files, warm=warm).verdict.outcome for warm in (False, True, False)] == [
        Outcome.PASSED,
        Outcome.FAILED,
        Outcome.PASSED,
    ]


@pytest.mark.parametrize("warm", [True, False])
def test_nobody_reaches_a_stem(attempt: Try, *, warm: bool) -> None:
    """The memory and the descriptors of processes beside a suite's own cannot be opened, warm or cold."""
    attempt({"test_first.py": "def test_first(): pass"})
    code = """\
        import os
        def test_others():
            others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
            assert len(others) >= 2  # server and zygotes
            for name in others:
                for file in ("mem", "fd/0", "environ"):
                    try:
                        os.close(os.open(f"/proc/{name}/{file}", os.O_RDONLY))
                    except OSError:
                        continue
                    raise AssertionError((name, file))
    """
    assert attempt({"test_others.py": code}, warm=warm).verdict.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"early.pth": "import builtins; builtins.early = True\n"}, "1.0"),
        ({"sitecustomize.py": "import builtins; builtins.early = True\n"}, "1.1"),
        ({"pluggy/_tracing.py": f"{TRACING}\nearly = True\n"}, "1.2"),
        (
            {"pygments.py": "lexers = 1\n", "iniconfig/__init__.pyi": "", "iniconfig.so": "", "argcomplete.py": ""},
            "1.3",
        ),
    ],
)
def test_another_pytest_is_loaded_anew(attempt: Try, bases: Bases, files: dict[str, str], version: str) -> None:
    """Where a wheel changes what pytest's import would find, or runs code before it, a suite is a program of its own."""
    code = """\
        import builtins, pluggy._tracing
        def test_seen():
            raise AssertionError([getattr(place, "early", None) for place in (builtins, pluggy._tracing)])
    """
    changes = version in ("1.0", "1.1", "1.2")
    other = filed(bases.cache, "zz-other", version, files)
    warm = attempt({"test_seen.py": code}, other, forked=not changes)
    assert shown(warm) == shown(attempt({"test_seen.py": code}, other, warm=False))


def test_harmless_path_files_keep_it_warm(attempt: Try, bases: Bases) -> None:
    """A .pth file that names directories, or does nothing without its variable, takes effect in a fork as well."""
    text = "deep\nimport os, sys;exec('if \"COV_CORE_SOURCE\" in os.environ: raise SystemExit(1)')\n"
    other = filed(bases.cache, "zz-deep", "1.0", {"deep.pth": text, "deep/inside.py": ""})
    code = "import inside\nimport sys\ndef test_path(): raise AssertionError(sys.path)\n"
    assert shown(attempt({"test_deep.py": code}, other)) == shown(attempt({"test_deep.py": code}, other, warm=False))


WRITTEN = """\
    import os
    FOLDER = os.path.join(os.path.dirname(__file__), "__pycache__")
    def test_written(): raise AssertionError([os.stat(entry).st_mtime_ns for entry in os.scandir(FOLDER) if "pytest" in entry.name])
"""


@pytest.mark.parametrize("setting", ["", "[pytest]\nenable_assertion_pass_hook = true\n"])
def test_tests_are_rewritten_once(tmp_path_factory: pytest.TempPathFactory, bases: Bases, setting: str) -> None:
    """Tests that are met again have bytecode of their own layer, warm and cold; not where their pytest rewrites otherwise."""
    must_work(3)
    made = adopting()
    next(made)
    way = shared_way(tmp_path_factory.getbasetemp(), "warm-3", SUITE, shared=True)
    tree = tmp_path_factory.mktemp("tree")
    (tree / "test_it.py").write_text(textwrap.dedent(WRITTEN))
    (tree / "pytest.ini").write_text(setting or "[pytest]\n")
    demo = filed(bases.cache, "demo", "1.0", {"demo.py": "answer = 42\n"})
    wheels = [*filed_pytest(bases.cache), demo]
    chosen, tried = dataclasses.replace(environment(*wheels), tree=str(tree)), combo(python=bases.pythons[LATEST])

    def told(*, warm: bool) -> tuple[str, Composed]:
        with way.composed(LATEST, chosen) as composed:
            (test,) = way.runner.run(tried, chosen, composed, LIMITS, warm=warm).tests
        return test.headline, composed

    first, once = told(warm=True)
    second, again = told(warm=True)
    assert first != second, "each run has written its own"
    assert (once.unrewritten, len(again.trees)) == ("", 1)
    bytecode = way.runner.rewritten(tried, chosen, again, LIMITS)
    assert any("-pytest-" in path for path in bytecode) == (not setting)
    way.rewrite(again, bytecode)
    third, layered = told(warm=True)
    assert (layered.unrewritten, layered.trees) == ("", (again.unrewritten, *again.trees))
    assert (third == told(warm=True)[0] == told(warm=False)[0]) == (not setting)
    way.runner.close()
    next(made, None)


def test_what_is_tried_is_loaded_by_nobody_before(bases: Bases) -> None:
    """Where pytest's import would load the package under test, or is not to be had, suites run cold."""
    wheels = tuple(filed_pytest(bases.cache))
    composed = Composed(
        "/p", "/p/bin/python", "", "", "", "", "", layer_of={wheel.sha256: wheel.name for wheel in wheels}
    )

    def count(
        tried: Sequence[str], wheels: Sequence[StoredWheel], variables: Mapping[str, str] = NONE, *, begun: bool = True
    ) -> int:
        return len(
            zygotes_of(tried, environment(*wheels), composed, LIMITS, lambda word: (word,), variables, begun=begun)
        )

    assert count(["pluggy"], wheels) == 0
    assert count(["other"], wheels, {"PYTHONPATH": "src"}) == 0
    assert count(["other"], wheels[1:]) == 0
    assert count(["other", "pygments"], wheels) == 0
    assert [count(["other"], wheels, begun=begun) for begun in (False, True)] == [1, 2]
    plugin = filed(bases.cache, "plug", "1.0", {"plug.py": PLUGIN}, entry_points="[pytest11]\nplug = plug\n")
    assert count(["other"], [*wheels, plugin]) == 1
