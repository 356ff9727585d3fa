"""Runs the corpus in every mode, and keeps what came of it: who runs it, how children are made, whether there is a sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.metadata
import json
import os
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pytest_spip
from pytest_spip.run.server import SANDBOX_UID
from tests.hostile.attack import Attack, Off, build, everything_of
from tests.hostile.bombs import BOMBS, INACTIVITY, MEMORY, TIMEOUT
from tests.hostile.broken import BROKEN
from tests.hostile.forgery import FORGERY
from tests.hostile.reach import REACH
from tests.hostile.theft import THEFT
from tests.hostile.world import TOKEN, World, python_of, worlds
from tests.support.distributions import wheel
from tests.support.index import LocalIndex
from tests.support.machine import Cell, Done, Machine, eventually
from tests.support.rooms import alive, tree_of

__all__ = ["CORPUS", "MODES", "OFF", "SOMEBODY", "Aftermath", "Site", "attacks_of", "kept", "sites"]

CORPUS = everything_of(BOMBS, THEFT, REACH, FORGERY, BROKEN)
OFF = "off"
MODES = ("root-warm", "root-cold", "user-warm", "user-cold")
SOMEBODY = SANDBOX_UID - 1
"""An ordinary user's uid, where we are root: nobody has it."""
LAST = "innocent"
"""A package that attacks nobody, the last one of each session."""


def attacks_of(mode: str) -> list[Attack]:
    """Return the attacks that are run in a mode."""
    if mode == OFF:
        return [attack for attack in CORPUS if attack.off != Off.NOT_RUN]
    return [attack for attack in CORPUS if attack.only in ("", mode)]


@dataclasses.dataclass(frozen=True)
class Aftermath:
    """What a session left: its combinations as reported, its output, and what can be seen around it."""

    status: int
    output: str
    written: str
    canaries: list[str]
    """Files and outputs in which the canary is."""
    heard: list[str]
    marks: list[str]
    changed: list[str]
    """What changed in the home directory, the index's directory, the cache's store and the places that all share."""
    harmed: list[str]
    left: list[str]
    """Processes, and worktrees."""

    @property
    def combinations(self) -> dict[str, dict[str, Any]]:
        """The report's combinations by id."""
        assert self.written, self.output
        return {one["id"]: one for one in json.loads(self.written)["combinations"]}

    def of(self, attack: Attack) -> list[dict[str, Any]]:
        """Return the combinations of an attack."""
        found = self.combinations
        return [one for name, one in found.items() for beginning in attack.ids if name.startswith(beginning)]

    def cells(self, attack: Attack) -> list[Cell]:
        """Return the verdicts on an attack, version by version."""
        return [(one["outcome"], one["phase"], one["reason"]) for one in self.of(attack)]


class Site:
    """A machine in its world, and who works there: each session is run by a user, whom all of it belongs to meanwhile.

    Combinations are of one interpreter, which all users can start, so that sessions after the first find all resolved.
    """

    def __init__(self, machine: Machine, world: World, users: Sequence[int], attacks: Sequence[Attack]) -> None:
        self.machine = machine
        self.world = world
        self.mark = f"mark-{os.path.basename(machine.root)}"
        self._python = python_of(users)
        self._owner = os.getuid()
        if set(users) != {self._owner}:
            self._install()
        people = [world.bystander() for _ in range(3)]
        facts = self._facts(people)
        for attack in attacks:
            build(attack, machine.files, facts)
        wheel(machine.files, LAST, "1.0", {f"{LAST}.py": ""})

    def _facts(self, people: Sequence[tuple[int, int, int]]) -> dict[str, object]:
        """Return what attackers know."""
        listeners = self.world.listeners
        return {
            "ROOT": str(self.machine.root),
            "OUTSIDE": str(self.world.outside),
            "HOME": str(self.world.home),
            "CACHE": str(self.machine.cache),
            "HARNESS": str(self._harness / "run" / "child"),
            "TOKEN": TOKEN,
            "MARK": self.mark,
            "BYSTANDERS": people,
            "INDEX": f"{self.machine.index.url}",
            "GATEWAY": own_address(),
            "PORT": listeners.port,
            "PORT6": listeners.port6,
            "DATAGRAM_PORT": listeners.datagram_port,
            "ABSTRACT": listeners.abstract,
            "DATAGRAM_ABSTRACT": listeners.datagram_abstract,
            "PATH": listeners.path,
            "DATAGRAM_PATH": listeners.datagram_path,
        }

    @property
    def _harness(self) -> Path:
        copied = self.machine.root / "site" / "pytest_spip"
        return copied if copied.exists() else Path(pytest_spip.__file__).parent

    def _install(self) -> None:
        """Install us, and what we need, where everybody can read it."""
        site = self.machine.root / "site"
        copy_distributions(site)
        shutil.copytree(Path(pytest_spip.__file__).parent, site / "pytest_spip", dirs_exist_ok=True)

    def _hand_to(self, owner: int) -> None:
        for top, below, files in os.walk(self.machine.root) if {owner, self._owner} != {os.getuid()} else ():
            for name in (".", *below, *files):
                os.chown(os.path.join(top, name), owner, owner, follow_symlinks=False)
        self._owner = owner

    def _started_by(self, owner: int) -> dict[str, Any]:
        """Return how a user starts pytest."""
        if owner == os.getuid():
            return {}
        ids = f"*[{owner}] * 3"
        become = f"import os, sys; os.setgroups([]); os.setresgid({ids}); os.setresuid({ids}); os.execv(sys.argv[1], sys.argv[1:])"
        program = [sys.executable, "-I", "-S", "-c", become, self._python, "-m", "pytest"]
        own = {"PYTHONPATH": str(self.machine.root / "site"), "PYENV_ROOT": str(self.world.home / ".pyenv")}
        return {"program": program, "env": {**own, "PYTHONDONTWRITEBYTECODE": "1"}}

    def session(self, mode: str, owner: int, attacks: Sequence[Attack], *options: str) -> Aftermath:
        """Have a user run attacks in one session, and look round."""
        self._clear()
        packages = "".join(f"{attack.name}\n" for attack in attacks) + f"{LAST}\n"
        self.machine.project(mode, {"packages.txt": packages})
        self._hand_to(owner)
        before = self._surroundings()
        how = self._started_by(owner)
        env = {TOKEN: self.world.canary, **how.pop("env", {})}
        process = self.machine.start(
            "--spip-matrix=@packages.txt",
            *("-n2", "-p", "no:cacheprovider"),
            *(f"--spip-timeout={TIMEOUT}", f"--spip-inactivity={INACTIVITY}", f"--spip-memory={MEMORY}MiB", *options),
            project=mode,
            python=self._python,
            env=env,
            **how,
        )
        return self._looked(before, self.machine.finish(process, mode, timeout=300))

    def _clear(self) -> None:
        self.world.listeners.heard.clear()
        for path in self.world.marks.iterdir():
            path.unlink()

    def _looked(self, before: dict[str, object], done: Done) -> Aftermath:
        eventually(lambda: not self._processes() and not self.machine.worktrees())
        after = self._surroundings()
        return Aftermath(
            status=done.status,
            output=done.stdout + done.stderr,
            written=done.written,
            canaries=list(self._canaries(done)),
            heard=[text.decode("utf-8", "replace") for text in self.world.listeners.heard],
            marks=sorted(os.listdir(self.world.marks)),
            changed=sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)),
            harmed=[str(one.args) for one in self.world.bystanders if not alive(one.pid) or os.getpriority(0, one.pid)],
            left=[*self._processes(), *map(str, self.machine.worktrees())],
        )

    def _processes(self) -> list[str]:
        own = {one.pid for one in self.world.bystanders}
        return [name for pid, name in self.machine.processes().items() if pid not in own]

    def _surroundings(self) -> dict[str, object]:
        """Return what must stay as it is, by path: the home directory, but for uv's lock, and what is shared by all."""
        home = tree_of(self.world.home)
        shared = [path for place in ("/", "/tmp", "/var/tmp", "/dev/shm") for path in Path(place).glob("*escaped*")]
        shared += [path for place in ("/tmp", "/var/tmp", "/dev/shm") for path in Path(place).glob(f"{self.mark}*")]
        stray = self.machine.root.rglob("escaped.py")
        return {
            **{name: state for name, state in home.items() if name.partition("/")[0] != ".local"},
            **dict.fromkeys(map(str, (*shared, *stray)), True),
        }

    def _canaries(self, done: Done) -> Iterator[str]:
        secret = self.world.canary
        texts = {"stdout": done.stdout, "stderr": done.stderr, "report": done.written}
        yield from (name for name, text in texts.items() if secret in text)
        for top in (done.project, self.machine.cache):
            for path in top.rglob("*"):
                if path.is_file() and secret.encode() in path.read_bytes():
                    yield str(path)

    def close(self) -> None:
        """Take away what attacks left in places that all share."""
        for place in ("/tmp", "/var/tmp", "/dev/shm"):
            for path in Path(place).glob(f"{self.mark}*"):
                path.unlink()
        librt = ctypes.CDLL("librt.so.1")
        librt.mq_unlink(f"/{self.mark}leaves_queue".encode())
        segment = librt.shmget(zlib.crc32(f"{self.mark}leaves_system_v".encode()) & 0x7FFFFFFF, 0, 0)
        if segment != -1:
            librt.shmctl(segment, 0, None)  # IPC_RMID


@contextlib.contextmanager
def sites(users: Sequence[int], attacks: Sequence[Attack]) -> Iterator[Site]:
    """Yield a place of work for some users, below a directory that everybody can read."""
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        root.chmod(0o755)
        (root / "files").mkdir()
        with (
            LocalIndex(root / "files") as index,
            contextlib.closing(Machine(root, root / "files", index)) as machine,
            worlds(root, root / "home") as world,
            contextlib.closing(Site(machine, world, users, attacks)) as site,
        ):
            yield site


def own_address() -> str:
    """Return this machine's address towards the world, that of the loopback where there is none; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # an address for documentation
        except OSError:
            return "127.0.0.1"
        return str(one.getsockname()[0])


def copy_distributions(target: Path) -> None:
    """Copy our distribution and all that it requires."""
    for distribution in needed_by("pytest-spip", {}).values():
        for file in distribution.files or ():
            place = target / ("bin/uv" if file.name == "uv" else str(file))
            if ".." not in place.parts and file.suffix not in (".pyc", ".pth"):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(file.locate()), place)


def needed_by(
    name: str, found: dict[str, importlib.metadata.Distribution]
) -> dict[str, importlib.metadata.Distribution]:
    """Return a distribution, and those that it requires, beside those that were found before."""
    name = canonicalize_name(name)
    if name not in found:
        found[name] = importlib.metadata.distribution(name)
        for needed in map(Requirement, found[name].requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                needed_by(needed.name, found)
    return found


def kept(place: Path, compute: Any) -> dict[str, Aftermath]:
    """Return what a function computes, once for all of xdist's workers."""
    with FileLock(f"{place}.lock"):
        if not place.exists():
            made = {mode: dataclasses.asdict(one) for mode, one in compute().items()}
            place.write_text(json.dumps(made), "utf-8")
        return {mode: Aftermath(**plain) for mode, plain in json.loads(place.read_text("utf-8")).items()}
