"""Builds by forks of a loaded backend: they find what programs of their own find, and nothing that others have left."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_spip.model import DistFile, Interpreter
from pytest_spip.provision.confined import Confine
from pytest_spip.provision.uv_output import Failure
from pytest_spip.run.confine import BuildSandboxes
from tests.support import backend
from tests.support.distributions import filename_stem, sdist, wheel
from tests.support.interpreters import pythons
from tests.support.machine import eventually
from tests.support.rooms import alive
from tests.support.supply import Supply

PYPROJECT = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
BACKEND = f"""\
{Path(backend.__file__).read_text()}
import os

LOADED_BY = os.getpid()
BEGINNING

def build_wheel(directory, config_settings=None, metadata_directory=None):
    facts = {{"forked": os.getpid() != LOADED_BY}}
    with open("build.py") as script:
        exec(script.read(), {{"facts": facts, "LOADED_BY": LOADED_BY, "out": directory}})
    name = facts.pop("stem", "STEM")
    members = {{"facts.json": json.dumps(facts).encode()}}
    metadata = "Metadata-Version: 2.1\\nName: {{}}\\nVersion: {{}}\\n".format(*name.split("-"))
    members[name + ".dist-info/METADATA"] = metadata.encode()
    members[name + ".dist-info/WHEEL"] = wheel_text("py3-none-any").encode()
    write_wheel(Path(directory, name + "-py3-none-any.whl"), name + ".dist-info", members)
    return name + "-py3-none-any.whl"
"""
STATE = """
import gc, os, resource, signal, stat, sys, threading, warnings

def listed(top):
    return sorted(os.path.join(folder, name) for folder, below, files in os.walk(top) for name in (*below, *files))

main = sys.modules["__main__"]
facts["state"] = {
    "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "path": sys.path, "executable": sys.executable,
    "prefixes": [sys.prefix, sys.base_prefix], "modules": sorted(sys.modules), "flags": repr(sys.flags),
    "main": {name: value for name, value in vars(main).items() if value is None or isinstance(value, (str, dict))
             and name != "__builtins__"},
    "main names": sorted(vars(main)), "loader": type(main.__loader__).__name__,
    "meta_path": [getattr(one, "__name__", type(one).__name__) for one in sys.meta_path],
    "hooks": [repr(sys.excepthook), repr(sys.settrace), repr(sys.gettrace()), repr(sys.getprofile())],
    "environ": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0o022), "bytecode": sys.dont_write_bytecode,
    "ids": [os.getuid(), os.getgid(), os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "limits": [resource.getrlimit(number) for number in range(16) if number != resource.RLIMIT_MSGQUEUE],
    "descriptors": {name: stat.S_IFMT(os.stat(int(name)).st_mode) for name in ("0", "1", "2")},
    "open": sorted(os.readlink("/proc/self/fd/" + name).partition("[")[0] for name in os.listdir("/proc/self/fd")
                   if os.path.exists("/proc/self/fd/" + name)),
    "streams": [repr(one) for one in (sys.stdin, sys.stdout, sys.stderr)],
    "threads": [one.name for one in threading.enumerate()], "native": threading.main_thread().native_id == os.getpid(),
    "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()], "nice": os.nice(0),
    "signals": {str(one): repr(signal.getsignal(one)) for one in signal.valid_signals()},
    "warnings": [str(one) for one in warnings.filters], "recursion": sys.getrecursionlimit(),
    "files": [path for top in (".", "..", os.environ["HOME"], os.environ["TMPDIR"], "/tmp", out, sys.prefix) for path in listed(top)
              if "__pycache__" not in path],
}
"""


@pytest.fixture(autouse=True)
def _serving(supply: Supply) -> None:
    serve(supply)


def serve(supply: Supply, beginning: str = "", version: str = "99.0") -> None:
    """List a setuptools of ours, with code that runs when it is loaded."""
    code = BACKEND.replace("BEGINNING", beginning)
    wheel(supply.files, "setuptools", version, {"setuptools/__init__.py": "", "setuptools/build_meta.py": code})


@pytest.fixture
def confine(supply: Supply) -> Iterator[BuildSandboxes]:
    """Yield sandboxes that are kept."""
    sandboxes = supply.confine(3)
    yield sandboxes
    sandboxes.stop()


def built(
    supply: Supply, confine: Confine, script: str, name: str = "demo", interpreter: Interpreter | None = None
) -> dict[str, Any]:
    """Build an sdist whose build runs a script, and return what that has noted."""
    stem = filename_stem(name, "1.0")
    source = sdist(supply.root, name, "1.0", {"build.py": f"facts['stem'] = {stem!r}\n{script}"}, pyproject=PYPROJECT)
    file = DistFile(source.name, source.as_uri(), "sdist", "1.0")
    made = supply.builder(confine=confine).wheel(name, file, interpreter or supply.here())
    with zipfile.ZipFile(made.path) as archive:
        facts: dict[str, Any] = json.loads(archive.read("facts.json"))
    return facts


def below_us() -> set[int]:
    """Return the processes below this one that have not ended."""
    return {process.pid for process in psutil.Process().children(recursive=True) if alive(process.pid)}


def masked(state: object, places: dict[str, str]) -> Any:
    """Return what a build has noted, with words in place of its own directories."""
    text = json.dumps(state, sort_keys=True)
    for place, word in places.items():
        text = text.replace(place, word)
    return json.loads(text)


@pytest.mark.parametrize("version", pythons())
def test_state(supply: Supply, confine: BuildSandboxes, version: str) -> None:
    """A fork cannot be told from a program of its own: modules, arguments, limits, streams and files are the same."""
    states: list[tuple[bool, Any]] = []
    for sandboxes in (confine, confine, supply.confine(3, cold=True)):
        facts = built(supply, sandboxes, STATE, f"demo{len(states)}", supply.interpreter(version))
        own = Path(facts["state"]["environ"]["HOME"]).parent.parent
        files = [path for path in facts["state"]["files"] if not own.is_relative_to(path)]
        facts["state"]["files"] = files
        states.append((facts["forked"], masked(facts["state"], {str(own): "OWN", f"demo{len(states)}": "demo"})))
    assert [forked for forked, _ in states] == [True, True, False]
    for _, state in states[:2]:
        for name, cold in states[2][1].items():
            assert (name, state[name]) == (name, cold)


LEFT = """
import setuptools, subprocess, sys
places = os.environ["HOME"], os.environ["TMPDIR"], "/tmp", "/dev/shm", os.path.dirname(setuptools.__file__)
facts["found"] = [path for path in places if os.path.exists(os.path.join(path, "left"))]
for place in (*places, "..", out):
    try:
        open(os.path.join(place, "left"), "w").close()
    except OSError:
        pass
os.mkdir(os.path.join(os.environ["HOME"], "closed"), 0)
facts["left"] = [path for path in places if os.path.exists(os.path.join(path, "left"))]
facts["others"] = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid(), LOADED_BY)]
facts["loader"] = LOADED_BY
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
setuptools.spoiled = True
"""


def test_nothing_is_handed_on(supply: Supply, confine: BuildSandboxes) -> None:
    """Of files, processes and modules that a build leaves the next one sees nothing, though both are forks of one backend."""
    script = "import os, setuptools\nfacts['spoiled'] = hasattr(setuptools, 'spoiled')\n" + LEFT
    first, second = (built(supply, confine, script, name) for name in ("one", "two"))
    assert first == second
    assert first["forked"]
    assert not first["spoiled"]
    assert (first["found"], len(first["left"])) == ([], 5)
    assert first["others"] == []


ON_TOPS = """
import os, struct
tops = [os.path.normpath(os.path.join(out, "..", name)) for name in ("tree", "out", "control")]
facts["found"] = [[os.stat(top).st_mode, os.listxattr(top)] for top in tops]
open(os.path.join(os.environ["HOME"], "file"), "w").close()
facts["made"] = os.stat(os.path.join(os.environ["HOME"], "file")).st_mode
everybody = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 7, 0xFFFFFFFF) for tag in (1, 4, 0x20))
facts["left"] = 0
for top in tops:
    os.chmod(top, 0o3777)
    for name, value in (("user.left", b"left"), ("system.posix_acl_default", everybody)):
        try:
            os.setxattr(top, name, value)
        except OSError:  # not every file system has them
            continue
        facts["left"] += 1
"""


def test_directories_are_as_new(supply: Supply, confine: BuildSandboxes) -> None:
    """Modes, attributes and default rights that a build gives its directories are not there for the next one."""
    first, second = (built(supply, confine, ON_TOPS, name) for name in ("one", "two"))
    assert first == second
    assert first["forked"]


@pytest.mark.parametrize(
    "script",
    [
        "import os\nif facts['forked']: raise RuntimeError('as a fork')",
        "import os\nif facts['forked']: os._exit(3)",
        "import os\nif facts['forked']:\n    os.kill(LOADED_BY, 9)\n    os.kill(os.getpid(), 9)",
        "if facts['forked']:\n    print('No space left on device')\n    raise OSError(28, 'No space left on device')",
        "facts['stem'] = 'other-1.0' if facts['forked'] else facts['stem']",
    ],
    ids=["raises", "exits", "kills", "no-room", "other-name"],
)
def test_a_forks_failure_is_none(supply: Supply, confine: BuildSandboxes, script: str) -> None:
    """What fails as a fork is built again by a program of its own, which finds the sdist as it was."""
    seen = "import os\nfacts['seen'] = os.path.exists('mark')\nopen('mark', 'w').close()\n"
    facts = built(supply, confine, seen + script)
    assert facts == {"forked": False, "seen": False}
    assert built(supply, confine, seen, "after")["seen"] is False


SPOILED = """
import os, signal
facts["scheduled"] = [sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)]
if facts["forked"]:
    {attack}
"""


@pytest.mark.parametrize(
    "attack",
    [
        "os.sched_setaffinity(LOADED_BY, [min(os.sched_getaffinity(0))])",
        "os.setpriority(os.PRIO_PROCESS, LOADED_BY, 19)",
        "os.sched_setscheduler(LOADED_BY, os.SCHED_BATCH, os.sched_param(0))",
        "os.kill(LOADED_BY, signal.SIGSTOP)",
    ],
    ids=["affinity", "priority", "policy", "stop"],
)
def test_a_loaded_backend_that_was_spoiled(supply: Supply, confine: BuildSandboxes, attack: str) -> None:
    """What a build does to the process that it is a fork of holds up no other build, and changes none."""
    first, second = (built(supply, confine, SPOILED.format(attack=attack), name) for name in ("one", "two"))
    assert first["forked"]
    assert second["scheduled"] == first["scheduled"]


def test_sandboxes_end_with_their_thread(supply: Supply, confine: BuildSandboxes) -> None:
    """A sandbox whose thread has ended is replaced, however often."""
    forked, before = [], below_us()
    for name in ("one", "two", "three", "four"):
        with ThreadPoolExecutor(1) as pool:
            forked.append(pool.submit(built, supply, confine, "", name).result()["forked"])
        assert eventually(lambda: below_us() == before)
    assert forked == [True, True, True, True]


def test_failure(supply: Supply, confine: BuildSandboxes) -> None:
    """What fails both ways has failed, with the output of its own program; the backend stays loaded for others."""
    with pytest.raises(Failure, match="no wheel today") as caught:
        built(
            supply, confine, "print('forked' if facts['forked'] else 'a program')\nraise RuntimeError('no wheel today')"
        )
    assert "a program" in caught.value.output
    assert "build_zygote" not in caught.value.output
    assert built(supply, confine, "", "after")["forked"]


@pytest.mark.parametrize(
    "beginning",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        "if 'build_zygote' in open('/proc/self/cmdline').read(): raise RuntimeError",
        "if 'build_zygote' in open('/proc/self/cmdline').read(): os._exit(0)",
        "import warnings\nwarnings.simplefilter('error', FutureWarning)",
        "os.environ['PATH'] = '/ours:' + os.environ['PATH']",
        "del os.environ['TMPDIR']",
    ],
    ids=["thread", "raises", "exits", "filters", "changes-variable", "deletes-variable"],
)
def test_unfit_backend(supply: Supply, confine: BuildSandboxes, beginning: str) -> None:
    """A backend that cannot be forked builds as a program, and that it cannot is found out once."""
    serve(supply, beginning, "99.1")
    assert [built(supply, confine, "", name)["forked"] for name in ("one", "two")] == [False, False]


def test_stopped(supply: Supply, confine: BuildSandboxes) -> None:
    """Stopped, sandboxes leave no process and no directory."""
    before = below_us()
    assert built(supply, confine, "")["forked"]
    assert below_us() - before
    confine.stop()
    assert eventually(lambda: below_us() == before)
    assert not [path for path in supply.cache.staging.iterdir() if path.is_dir()]


def test_idle(supply: Supply, confine: BuildSandboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sandboxes that nobody uses no more are kept than there may be builds at once."""
    before = below_us()
    assert built(supply, confine, "", "one")["forked"]
    assert below_us() != before
    confine.close_idle()
    assert eventually(lambda: below_us() == before)
    monkeypatch.setattr("pytest_spip.run.confine._IDLE", 0)
    assert built(supply, confine, "", "two")["forked"]
    assert eventually(lambda: below_us() == before)
