"""Builds in their sandbox: what gets out of it, and that stopping ends them. The attacks are on the test's own things."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.errors import HarnessProblem
from pytest_spip.model import DistFile
from pytest_spip.provision.resolver import BuiltWheel
from pytest_spip.run.confine import BuildSandboxes
from tests.support import backend
from tests.support.distributions import PYPROJECT, scripted, sdist, wheel
from tests.support.machine import eventually
from tests.support.rooms import alive
from tests.support.supply import Supply


def built(supply: Supply, source: Path, level: int) -> BuiltWheel:
    """Build an sdist with the running interpreter, on a level."""
    file = DistFile(source.name, source.as_uri(), "sdist", "1.0")
    return supply.builder(confine=supply.confine(level)).wheel("demo", file, supply.here())


# -- attacks ------------------------------------------------------------------------------------------------------------

ATTACK = """
import socket

def got_through():
    targets = json.loads(TARGETS)
    for name, attack in {
        "read": lambda: open(targets["canary"]).read(),
        "list": lambda: os.listdir(os.path.dirname(targets["canary"])),
        "write": lambda: open(targets["mark"], "w").close(),
        "tcp": lambda: socket.create_connection(("127.0.0.1", targets["port"]), 5).close(),
        "abstract": lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + targets["name"]),
        "path": lambda: socket.socket(socket.AF_UNIX).connect(targets["socket"]),
    }.items():
        try:
            attack()
        except OSError:
            continue
        yield name

def spoil():
    path = sys.modules["helper"].__file__
    try:
        os.chmod(path, 0o700)
        with open(path, "a") as file:
            file.write("# spoiled")
    except OSError:
        return False
    return True
"""
BUILD = """
import json, helper
with open("demo.json", "w") as told:
    json.dump([*got_through(), *(["spoil"] if spoil() else [])], told)
return helper.build(directory, ["demo.json"])
"""
HELPER = f"""\
{Path(backend.__file__).read_text()}

def build(directory, files):
    info = "demo-1.0.dist-info"
    members = {{name: Path(name).read_bytes() for name in files}}
    members[info + "/METADATA"] = b"Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n"
    members[info + "/WHEEL"] = wheel_text("py3-none-any").encode()
    write_wheel(Path(directory, "demo-1.0-py3-none-any.whl"), info, members)
    return "demo-1.0-py3-none-any.whl"
"""
ALL = {"read", "list", "write", "spoil", "tcp", "abstract", "path"}


@contextlib.contextmanager
def targets(supply: Supply) -> Iterator[tuple[dict[str, object], list[socket.socket]]]:
    """Yield what may be attacked: a file in HOME, a place beside it, and sockets that listen."""
    canary = Path(supply.environ["HOME"]) / "secret"
    canary.write_text("hush")
    name, path = f"spip-test-{os.getpid()}-{id(supply)}", supply.root / "socket"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as filed:
        tcp.bind(("127.0.0.1", 0))
        named.bind(f"\0{name}")
        filed.bind(str(path))
        for each in (tcp, named, filed):
            each.listen()
            each.setblocking(False)
        told = {"canary": str(canary), "mark": str(supply.root / "mark"), "name": name, "socket": str(path)}
        yield told | {"port": tcp.getsockname()[1]}, [tcp, named, filed]


def heard(listener: socket.socket) -> bool:
    """Tell whether somebody has knocked."""
    with contextlib.suppress(BlockingIOError):
        listener.accept()[0].close()
        return True
    return False


def attacked(supply: Supply, level: int) -> tuple[set[str], list[bool], tuple[bool, bool]]:
    """Build an sdist that attacks; return what it says got through, what listeners heard, what was written and spoiled."""
    wheel(supply.files, "helper", "1.0", {"helper.py": HELPER})
    with targets(supply) as (told, listeners):
        attack = ATTACK.replace("TARGETS", repr(json.dumps(told)))
        source = scripted(supply.root, BUILD, f"import json\n{attack}", requires=["helper"])
        with zipfile.ZipFile(built(supply, source, level).path) as archive:
            through = set(json.loads(archive.read("demo.json")))
        environments = (supply.cache.builds / "environments").glob("*/lib/*/site-packages/helper.py")
        changed = (supply.root / "mark").exists(), any(path.read_text() != HELPER for path in environments)
        return through, [heard(each) for each in listeners], changed


def test_nothing_gets_out(supply: Supply, level: int) -> None:
    """A build can neither read the user's files nor write outside, nor reach anybody, and gets done all the same.

    Where its environment is overlaid it may change that, and nobody else sees it.
    """
    assert attacked(supply, level) == ({"spoil"} if level == 3 else set(), [False] * 3, (False, False))


def test_everything_gets_out(supply: Supply) -> None:
    """With the sandbox off the same build, run in the same way, gets at all of it: the attacks are real.

    Only what it changes in its environment is a copy, which no other build sees.
    """
    assert attacked(supply, 0) == (ALL, [True] * 3, (True, False))


EVIL = "import os; open({mark!r}, 'a').close() if os.path.isdir({root!r}) else None\n"


def test_start_files_of_build_requirements(supply: Supply, level: int) -> None:
    """What a build requirement has run at every start of its interpreter runs in the sandbox only."""
    mark = str(supply.root / "mark")
    evil = EVIL.format(mark=mark, root=str(supply.root))
    wheel(supply.files, "helper", "1.0", {"helper.py": HELPER, "evil.pth": evil})
    source = scripted(supply.root, "import helper\nreturn helper.build(directory, [])", requires=["helper"])
    assert built(supply, source, level).fresh
    assert not Path(mark).exists()
    assert built(supply, source, 0).fresh
    assert Path(mark).exists()


SETUP = """
import os, socket, sys
from setuptools import setup

try:
    socket.create_connection(("127.0.0.1", {port}), 5).close()
except OSError:
    sys.stderr.write("alone\\n")
setup(name="demo", version="1.0")
"""
SETUPTOOLS = """
import helper, runpy

class Legacy:
    def build_wheel(self, directory, settings=None, metadata=None):
        runpy.run_path("setup.py")
        return helper.build(directory, [])

__legacy__ = Legacy()
"""


def test_setup_script(supply: Supply, level: int) -> None:
    """A setup script is run in the sandbox, with its requirements, without network."""
    files = {"setuptools/__init__.py": "def setup(**keywords): pass", "setuptools/build_meta.py": SETUPTOOLS}
    wheel(supply.files, "setuptools", "80.0", {**files, "helper.py": HELPER})
    with targets(supply) as (told, listeners):
        source = sdist(supply.root, "demo", "1.0", {}, setup_py=SETUP.format(port=told["port"]))
        assert built(supply, source, level).fresh
        assert not any(map(heard, listeners))
        assert built(supply, source, 0).fresh
        assert heard(listeners[0])


def test_native_build(supply: Supply, level: int) -> None:
    """A build finds the interpreter's headers, a compiler where there is one, and room for its temporary files."""
    body = "import subprocess, sysconfig, tempfile, helper\n"
    body += "assert os.path.exists(os.path.join(sysconfig.get_paths()['include'], 'Python.h'))\n"
    body += "tempfile.TemporaryFile().close()\nsubprocess.check_call(['sh', '-c', 'echo > file && mv file other'])\n"
    body += "os.makedirs(os.path.expanduser('~/.cache'))\nreturn helper.build(directory, ['other'])"
    wheel(supply.files, "helper", "1.0", {"helper.py": HELPER})
    assert built(supply, scripted(supply.root, body, requires=["helper"]), level).fresh


def test_in_tree_backend(supply: Supply, level: int) -> None:
    """A backend of the source tree is found below the directories that it names, and nowhere else."""
    pyproject = PYPROJECT.replace('["."]', '["own"]').replace('"backend"', '"maker"')
    files = {"own/maker.py": HELPER + "\ndef build_wheel(d, s=None, m=None): return build(d, [])\n"}
    assert built(supply, sdist(supply.root, "demo", "1.0", files, pyproject=pyproject), level).fresh


# -- the end ------------------------------------------------------------------------------------------------------------

HANG = """
import signal
with open(FIFO, "w") as fifo:
    fifo.write(str(os.getpid()))
while True: signal.pause()
"""


@pytest.fixture
def hanging(supply: Supply) -> Iterator[tuple[BuildSandboxes, Future[BuiltWheel], int]]:
    """Yield sandboxes, a build in one of them that hangs, and the process that does."""
    fifo, confine = supply.root / "fifo", supply.confine(0)
    os.mkfifo(fifo)
    source = scripted(supply.root, HANG.replace("FIFO", repr(str(fifo))))
    file = DistFile(source.name, source.as_uri(), "sdist", "1.0")
    builder = supply.builder(confine=confine)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(builder.wheel, "demo", file, supply.here())
        yield confine, building, int(fifo.read_text())
        confine.stop()


def test_stop(supply: Supply, hanging: tuple[BuildSandboxes, Future[BuiltWheel], int]) -> None:
    """A build that runs is killed with all its processes, has no verdict, and no other begins."""
    confine, building, pid = hanging
    confine.stop()
    with pytest.raises(HarnessProblem):
        building.result(30)
    assert eventually(lambda: not alive(pid))
    with (
        pytest.raises(HarnessProblem, match="the session is ending"),
        confine(supply.here().path, environment="", write=()),
    ):
        pass
    assert not list(supply.cache.builds.glob("*/build.json"))
