"""Sandboxes for builds: fork servers that see what they are given, and have no network.

One ends with its build, or is kept for others that want the same environment. There the backend is loaded once, see
child/build_zygote.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.trees import give_tree, remove_tree
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Limits, Sandbox, digest
from pytest_spip.run.check_runners import SYSTEM_PATH
from pytest_spip.run.jobs import CommandJob, Zygote
from pytest_spip.run.process import Ended
from pytest_spip.run.program import Program
from pytest_spip.run.server import CHILD, RESULT, ForkServer, Setup, has_fork_servers

__all__ = ["BuildSandboxes"]

_ENVIRONMENT = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
_FORKS_FROM = 3
"""The first level at which a loaded backend can be forked."""
_IDLE = max(os.cpu_count() or 1, 12)
"""Sandboxes that are kept while nobody uses them: builds for several interpreters take turns."""
_TRIES = 2
"""Sandboxes for one environment that are given up, before no more are kept for it."""
_Server = ForkServer | Program
_Key = tuple[str, str, tuple[str, ...]]


class BuildSandboxes:
    """Opens sandboxes of the run's level.

    ``view`` is an empty directory that they build their views over. The ``cache`` has room for builds, and the bytecode of our
    own files. None is kept where all is to be ``cold``.
    """

    def __init__(self, sandbox: Sandbox, view: Path, cache: Cache, *, cold: bool = False) -> None:
        self._sandbox = sandbox
        self._view = view
        self._cache = cache
        self._cold = cold
        self._lock = threading.Lock()
        self._open: set[_Server] = set()
        self._idle: list[tuple[_Key, _Kept]] = []
        self._given_up: Counter[_Key] = Counter()
        self._stopped = False

    @property
    def level(self) -> int:
        """How strong they are."""
        return self._sandbox.level

    @property
    def forks(self) -> bool:
        """Whether there are sandboxes that are kept."""
        return self.level >= _FORKS_FROM and not self._cold and has_fork_servers()

    @contextlib.contextmanager
    def __call__(self, python: str, *, environment: str, write: Sequence[str]) -> Iterator[_Confined]:
        """Open a sandbox; ``write`` are directories that its programs come to own.

        So is ``environment`` where it can be overlaid, for each program anew; elsewhere they read it.
        """
        setup = self._setup(environment, write)
        self._give((*write, setup.prefix), setup)
        server: _Server = ForkServer(python, setup) if has_fork_servers() else Program()
        with contextlib.closing(server), self._known(server):
            yield _Confined(server)

    @contextlib.contextmanager
    def kept(self, python: str, *, environment: str, write: Sequence[str]) -> Iterator[_Kept]:
        """Have a sandbox with directories of these names, which are empty; others have had it before, and will after.

        Who raises an exception has it ended. Raises ``HarnessProblem`` where that happened too often: it is not tried again.
        """
        key = python, environment, tuple(write)
        if self._given_up[key] >= _TRIES:
            raise HarnessProblem("such sandboxes were given up before")
        kept = self._taken(key) or self._made(key)
        try:
            with self._known(kept.server):
                yield kept
                kept.clear()
        except BaseException:
            self._given_up[key] += 1
            kept.close()
            raise
        self._put_back(key, kept)

    def _taken(self, key: _Key) -> _Kept | None:
        while True:
            with self._lock:
                found = next((entry for entry in reversed(self._idle) if entry[0] == key), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if not found[1].server.has_ended:
                return found[1]
            found[1].close()

    def _made(self, key: _Key) -> _Kept:
        python, environment, names = key
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(self._cache.workshop()).resolve()
            places = [root / name for name in names]
            for place in places:
                place.mkdir()
            setup = self._setup(environment, list(map(str, places)))
            self._give([setup.prefix], setup)
            server = stack.enter_context(contextlib.closing(ForkServer(python, setup)))
            return _Kept(root, places, server, setup.sandbox_uid, stack.pop_all())

    def _put_back(self, key: _Key, kept: _Kept) -> None:
        with self._lock:
            self._idle.append((key, kept))
            surplus = self._idle[: max(len(self._idle) - (0 if self._stopped else _IDLE), 0)]
            del self._idle[: len(surplus)]
        for _, one in surplus:
            one.close()

    def _setup(self, environment: str, write: Sequence[str]) -> Setup:
        self._view.mkdir(parents=True, exist_ok=True)
        prefix, read = (environment, "") if self.level >= 3 else ("", environment)
        return Setup(
            self.level,
            str(self._view),
            _ENVIRONMENT,
            prefix=prefix,
            read=tuple(filter(None, [read])),
            write=tuple(write),
            pycache=str(self._cache.pycache),
            bare=True,
        )

    def _give(self, directories: Sequence[str], setup: Setup) -> None:
        """Have a sandbox's programs own directories, as far as they do not yet."""
        if setup.sandbox_uid:
            for directory in map(Path, filter(None, directories)):
                if directory.stat().st_uid != setup.sandbox_uid:  # a tree's top is given last
                    give_tree(directory, setup.sandbox_uid)

    @contextlib.contextmanager
    def _known(self, server: _Server) -> Iterator[None]:
        """Have :meth:`stop` know a server while it is used."""
        with self._lock:
            self._open.add(server)
        try:
            if self._stopped:
                raise HarnessProblem("the session is ending")
            yield
        finally:
            with self._lock:
                self._open.discard(server)

    def close_idle(self) -> None:
        """End those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, kept in idle:
            kept.close()

    def stop(self) -> None:
        """Kill what runs, and refuse to open more."""
        with self._lock:
            self._stopped = True
            for server in self._open:
                server.hang_up()
        self.close_idle()


class _Confined:
    """Runs programs by one server."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def __call__(self, command: Sequence[str], *, environment: Mapping[str, str], cwd: str, limits: Limits) -> Ended:
        return self._server.run(CommandJob(cwd=cwd, limits=limits, command=tuple(command), variables=environment))


class _Kept:
    """A sandbox with directories below ``root``; it runs scripts that call hooks, from where those have loaded the backend."""

    def __init__(
        self, root: Path, places: Sequence[Path], server: ForkServer, owner: int, stack: contextlib.ExitStack
    ) -> None:
        self.root = root
        self.server = server
        self._places = {place: place.stat().st_mode & 0o7777 for place in places}
        self._owner = owner
        self._stack = stack

    def __call__(self, command: Sequence[str], *, environment: Mapping[str, str], cwd: str, limits: Limits) -> Ended:
        """Run ``PYTHON SCRIPT ARGUMENT...``. Raises ``HarnessProblem`` when no loaded backend could be forked for it."""
        python, script, *_ = command
        loading = python, str(CHILD / "build_zygote.py"), RESULT, script
        key = digest(sorted(environment.items()), dataclasses.astuple(limits))
        zygote = Zygote(key=key, layers=(), trees=(), command=loading, environment=environment)
        for place in self._places if self._owner else ():
            give_tree(place, self._owner)
        ended = self.server.run(
            CommandJob(
                cwd=cwd, limits=limits, command=tuple(command), variables=environment, zygotes=(zygote,), forked=True
            )
        )
        if not ended.warm:
            raise HarnessProblem("the build's backend could not be forked")
        return ended

    def clear(self) -> None:
        """Remove what a build has left, in the directories and on them. Raises ``HarnessProblem`` where something stays."""
        for place, mode in self._places.items():
            try:
                place.chmod(0o700)
                for name in os.listxattr(place):
                    if name.startswith(("user.", "system.posix_acl_")):
                        os.removexattr(place, name)
                place.chmod(mode)
                for left in place.iterdir():
                    remove_tree(left)
                stays = any(place.iterdir())
            except OSError as error:
                raise HarnessProblem(f"a build's directory cannot be cleared: {error}") from error
            if stays:
                raise HarnessProblem(f"a build's directory cannot be cleared: {place}")

    def close(self) -> None:
        """End it, and remove its directories."""
        self._stack.close()
