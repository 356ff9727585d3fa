"""Other ways to try a release in an environment of its own, with uv beneath: uv run, uv venv, tox-uv, nox."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.commands import UV, run, uv_environment
from benchmarks.matrix import Planned, Unmeasurable
from benchmarks.tables import say

__all__ = ["Lap", "Nox", "Rival", "ToxUv", "Tried", "UvRun", "UvVenv", "importing", "install_tools"]

TOOLS = ("tox", "tox-uv", "nox")
TOX = """\
[tox]
no_package = true
requires = tox-uv
[testenv]
commands = {command}
"""
TOX_ENVIRONMENT = """\
[testenv:{name}]
base_python = {python}
deps =
{requirements}
"""
NOX = """\
import nox

nox.options.default_venv_backend = "uv"
for name, python, requirements in {sessions!r}:
    def body(session, requirements=requirements):
        session.install(*requirements)
        session.run(*{words!r})

    body.__name__ = name
    nox.session(body, name=name, python=python, reuse_venv=True)
"""


@dataclasses.dataclass(frozen=True)
class Lap:
    """Combinations run, seconds they took together, and how many failed."""

    count: int
    seconds: float
    failed: int

    @property
    def rate(self) -> float:
        """Combinations per second."""
        return self.count / self.seconds


@dataclasses.dataclass(frozen=True)
class Tried:
    """The words of the command that is run in each environment, and what is installed there beside the release."""

    words: tuple[str, ...]
    extra_requirements: tuple[str, ...] = ()

    def requirements(self, combination: Planned) -> list[str]:
        """Return all that is to be installed for a combination."""
        return [f"{combination.package}=={combination.version}", *self.extra_requirements]


def importing(module: str) -> Tried:
    """Return the import of a module."""
    return Tried(("python", "-c", f"import {module}"))


@dataclasses.dataclass(frozen=True)
class Rival:
    """What to try, the one index, a directory of its own in which no project lies, and processes at once.

    One that is ``quiet`` does not say how combinations failed.
    """

    tried: Tried
    index_url: str
    directory: Path
    workers: int
    quiet: bool = dataclasses.field(default=False, kw_only=True)

    @property
    def title(self) -> str:
        """What the table calls it."""
        raise NotImplementedError

    def prepare(self, combinations: Sequence[Planned]) -> list[Planned]:
        """Fill caches and make environments, with the network; return the combinations that work."""
        raise NotImplementedError

    def lap(self, combinations: Sequence[Planned]) -> Lap:
        """Run combinations that were prepared, without the network."""
        raise NotImplementedError

    def command(self, *words: str, offline: bool) -> bool:
        """Run a command in the directory; tell whether it succeeded, and say how it failed."""
        done = run(words, self.directory, self._env(offline=offline))
        if done.status != 0 and not self.quiet:
            say(f"{shlex.join(words)}: {' '.join(done.output.split())[-300:]}")
        return done.status == 0

    def _env(self, *, offline: bool) -> Mapping[str, str]:
        env = uv_environment(self.index_url, self.directory.parent / "uv-cache")
        return env | ({"UV_OFFLINE": "1"} if offline else {})


class _OneByOne(Rival):
    """A rival with some commands for each combination; a pool of threads keeps as many going as there are workers."""

    def prepare(self, combinations: Sequence[Planned]) -> list[Planned]:
        worked = self._all(combinations, offline=False)
        return [each for each, works in zip(combinations, worked, strict=True) if works]

    def lap(self, combinations: Sequence[Planned]) -> Lap:
        return self._timed(combinations, offline=True)

    def first_lap(self, combinations: Sequence[Planned]) -> Lap:
        """Run combinations that were not prepared, with the network."""
        return self._timed(combinations, offline=False)

    def _timed(self, combinations: Sequence[Planned], *, offline: bool) -> Lap:
        before = time.perf_counter()
        worked = self._all(combinations, offline=offline)
        return Lap(len(combinations), time.perf_counter() - before, worked.count(False))

    def works(self, combination: Planned, *, offline: bool) -> bool:
        """Tell whether one combination works."""
        raise NotImplementedError

    def _all(self, combinations: Sequence[Planned], *, offline: bool) -> list[bool]:
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(functools.partial(self.works, offline=offline), combinations))


class UvRun(_OneByOne):
    """``uv run --isolated --with``, which takes what it can from uv's cache."""

    @property
    def title(self) -> str:
        return "uv run --isolated --with"

    def works(self, combination: Planned, *, offline: bool) -> bool:
        where = ["--isolated", "--no-project", *(["--offline"] if offline else []), "--python", str(combination.path)]
        what = [word for each in self.tried.requirements(combination) for word in ("--with", each)]
        return self.command(UV, "run", *where, *what, *self.tried.words, offline=offline)


class UvVenv(_OneByOne):
    """``uv venv``, ``uv pip install`` and an import, the environment thrown away afterwards but not within the time."""

    @property
    def title(self) -> str:
        return "uv venv + uv pip install + import"

    def lap(self, combinations: Sequence[Planned]) -> Lap:
        lap = super().lap(combinations)
        for each in self.directory.glob("venv-*"):
            shutil.rmtree(each)
        return lap

    def works(self, combination: Planned, *, offline: bool) -> bool:
        venv = self.directory / f"venv-{combination.id}"
        python = str(venv / "bin" / "python")
        install = ["pip", "install", "-q", "--python", python, *(["--offline"] if offline else [])]
        return (
            self.command(UV, "venv", "-q", "--clear", "--python", str(combination.path), str(venv), offline=offline)
            and self.command(UV, *install, *self.tried.requirements(combination), offline=offline)
            and self.command(str(venv / "bin" / self.tried.words[0]), *self.tried.words[1:], offline=offline)
        )


@dataclasses.dataclass(frozen=True)
class _Tool(Rival):
    """A rival that reads a file in which all combinations stand by name."""

    tools: Path
    name: ClassVar[str]
    each_alone: bool = False
    """Whether the tool is started for each combination, rather than once per worker for all of its share."""

    @property
    def title(self) -> str:
        return f"{self.name}, {'one a combination' if self.each_alone else 'one for a worker'}"

    def prepare(self, combinations: Sequence[Planned]) -> list[Planned]:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.write({_name(each): each for each in combinations})
        return [each for each in combinations if self.start([_name(each)], offline=False)]

    def lap(self, combinations: Sequence[Planned]) -> Lap:
        shares = [[each] for each in combinations] if self.each_alone else _shares(combinations, self.workers)
        before = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            worked = list(pool.map(lambda share: self.start([_name(each) for each in share], offline=True), shares))
        seconds = time.perf_counter() - before
        return Lap(
            len(combinations),
            seconds,
            sum(len(share) for share, works in zip(shares, worked, strict=True) if not works),
        )

    def write(self, combinations: Mapping[str, Planned]) -> None:
        """Write the tool's file."""
        raise NotImplementedError

    def start(self, names: Sequence[str], *, offline: bool) -> bool:
        """Start the tool over some combinations, and tell whether all of them worked."""
        raise NotImplementedError


class ToxUv(_Tool):
    """tox with tox-uv and environments that exist."""

    name: ClassVar[str] = "tox-uv"

    def write(self, combinations: Mapping[str, Planned]) -> None:
        environments = [
            TOX_ENVIRONMENT.format(name=name, python=each.path, requirements=self._listed(each))
            for name, each in combinations.items()
        ]
        (self.directory / "tox.ini").write_text(
            TOX.format(command=shlex.join(self.tried.words)) + "".join(environments), "utf-8"
        )

    def _listed(self, combination: Planned) -> str:
        return "\n".join(f"    {each}" for each in self.tried.requirements(combination))

    def start(self, names: Sequence[str], *, offline: bool) -> bool:
        return self.command(str(self.tools / "tox"), "run", "-q", "-e", ",".join(names), offline=offline)


class Nox(_Tool):
    """nox with uv as its backend and environments that exist; it leaves the installation out, as ``-R`` says."""

    name: ClassVar[str] = "nox -R with uv"

    def write(self, combinations: Mapping[str, Planned]) -> None:
        sessions = [(name, str(each.path), self.tried.requirements(each)) for name, each in combinations.items()]
        (self.directory / "noxfile.py").write_text(NOX.format(sessions=sessions, words=self.tried.words), "utf-8")

    def start(self, names: Sequence[str], *, offline: bool) -> bool:
        return self.command(str(self.tools / "nox"), *(["-R"] if offline else []), "-s", *names, offline=offline)


def install_tools(directory: Path, index_url: str) -> Path:
    """Install tox, tox-uv and nox into an environment of their own and return where its programs are."""
    installer = Rival(Tried(()), index_url, directory, 1)
    made = installer.command(UV, "venv", "-q", "--clear", "tools", offline=False)
    if not made or not installer.command(UV, "pip", "install", "-q", "--python", "tools", *TOOLS, offline=False):
        raise Unmeasurable("tox, tox-uv and nox cannot be installed")
    return directory / "tools" / "bin"


def _shares(combinations: Sequence[Planned], workers: int) -> list[Sequence[Planned]]:
    return [combinations[number::workers] for number in range(workers)]


def _name(combination: Planned) -> str:
    return f"v{combination.package}{combination.version}-{combination.id.rpartition('-')[2].rstrip(']')}".replace(
        ".", "_"
    ).replace("py", "x")
