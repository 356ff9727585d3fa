"""The runner with fork servers: one for every environment; children run warm, or cold as new programs, in its sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from pytest_spip.errors import HarnessProblem, SandboxProblem
from pytest_spip.model import Combo, Composed, Environment, Limits, Result, Sandbox
from pytest_spip.run.check_runners import CheckRunner, child_environment, tried
from pytest_spip.run.jobs import CommandJob, CompileJob, ImportJob, Job
from pytest_spip.run.process import Ended
from pytest_spip.run.runner import NONE
from pytest_spip.run.server import SANDBOX_UID, ForkServer, Setup
from pytest_spip.run.streams import Relay

__all__ = ["ForkRunner", "ForkedSession"]

_AFTER_WHICH_NO_SERVER_ANSWERS = (HarnessProblem, KeyboardInterrupt, SystemExit)
_Key = tuple[str, bool, tuple[str, ...]]
"""Whose server it is: the environment's prefix, whether it may use the network, and the files of devices that it sees."""


class ForkRunner:
    """Keeps a fork server for every environment it met. What children do is the ``check_runner``'s.

    ``view`` is an empty directory that servers build their views over, ``layers`` where environments' layers lie, if they
    are composed of any; ``closures`` names, by interpreter, the file that warm children need; ``pycache`` is as in ``Setup``.
    """

    def __init__(
        self,
        check_runner: CheckRunner,
        sandbox: Sandbox,
        view: Path,
        layers: str,
        closures: Mapping[str, Path],
        limits: Limits,
        pycache: Path,
    ) -> None:
        self._check_runner = check_runner
        self._sandbox = sandbox
        self._view = view
        self._layers = layers
        self._closures = closures
        self._limits = limits
        self._pycache = pycache
        self._servers: dict[_Key, ForkServer] = {}
        self._shown: tuple[str, ...] = ()
        self._imported: tuple[str, ...] = ()
        self._was_warm = False

    def warms(self, combo: Combo, composed: Composed) -> bool:
        """Return True if a child forked of a combination's interpreter can do it; not before that one's closures are known.

        Of a pytest that is loaded already, one may be forked wherever wheels have layers of their own.
        """
        if self._check_runner.streams:
            return bool(composed.layer_of)
        # Variables of Python's change how an interpreter starts, which a server has done already.
        changed = any(name.startswith("PYTHON") for name, _ in self._sandbox.passed)
        return self._check_runner.warm and not changed and self._warmed(combo, composed).warm

    def run(
        self,
        combo: Combo,
        environment: Environment,
        composed: Composed,
        limits: Limits,
        *,
        warm: bool,
        variables: Mapping[str, str] = NONE,
    ) -> Result:
        """Run the check. Raises ``HarnessProblem`` when the server cannot be started, or died."""
        job = self._job(combo, environment, composed, limits, warm=warm, variables=variables)
        self._was_warm = warm
        result = tried(self._check_runner, combo, environment, limits, lambda: self._ended(combo, composed, job))
        return dataclasses.replace(result, runner="warm" if self._was_warm else "cold")

    def _job(
        self,
        combo: Combo,
        environment: Environment,
        composed: Composed,
        limits: Limits,
        *,
        warm: bool,
        variables: Mapping[str, str],
    ) -> ImportJob | CommandJob:
        check_runner = self._check_runner
        if warm and check_runner.warm:
            modules = check_runner.modules(combo, environment)
            return ImportJob(
                cwd=composed.cwd,
                limits=limits,
                site=composed.site,
                layers=composed.layers,
                trees=composed.trees,
                scripts=composed.scripts,
                modules=modules,
                trace=composed.traced,
                variables=variables,
            )
        own = {**child_environment(composed, self._sandbox.passed), **variables}
        return CommandJob(
            cwd=composed.cwd,
            limits=limits,
            site=composed.site,
            layers=composed.layers,
            trees=composed.trees,
            scripts=composed.scripts,
            command=check_runner.program(combo, environment, composed),
            variables=own,
            zygotes=check_runner.zygotes(combo, environment, composed, limits, own) if warm else (),
            streams=check_runner.streams,
        )

    def _ended(self, combo: Combo, composed: Composed, job: Job) -> Ended:
        ended = self._asked(combo, composed, job)
        self._imported = self._check_runner.sources(ended, composed.traced) if composed.traced else ()
        self._was_warm = ended.warm
        return ended

    def _asked(self, combo: Combo, composed: Composed, job: Job) -> Ended:
        try:
            return self._server(combo, composed).run(job)
        except SandboxProblem:
            raise
        except HarnessProblem:
            self._servers.pop((composed.prefix, self._sandbox.network, self._shown), None)
            raise

    def imported(self, composed: Composed) -> tuple[str, ...]:
        """Return the source files that the last run imported of its environment, by path below the prefix, where it was traced."""
        top = f"{composed.prefix}/"
        return tuple(path.removeprefix(top) for path in self._imported if path.startswith(top))

    def bytecode(self, combo: Combo, composed: Composed, limits: Limits, sources: Sequence[str]) -> Mapping[str, bytes]:
        """Have a child compile source files of the environment; all paths are below the prefix. Raises ``HarnessProblem``."""
        if not sources:
            return {}
        whole = tuple(f"{composed.prefix}/{path}" for path in sources)
        job = CompileJob(cwd=composed.cwd, limits=limits, layers=composed.layers, sources=whole)
        return dict(read_bytecode(self._asked(combo, composed, job).result, f"{composed.prefix}/"))

    def rewritten(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits
    ) -> Mapping[str, bytes]:
        """Have a child compile what the last run imported of its suite's tree. Raises ``HarnessProblem``."""
        layers = self._check_runner.rewriting(combo, environment, composed, limits)
        sources = tuple(path for path in self._imported if path.startswith(f"{composed.sources}/"))
        if not layers or not sources:
            return {}
        job = CompileJob(
            cwd=composed.cwd,
            limits=limits,
            site=composed.site,
            layers=layers,
            trees=composed.trees,
            sources=sources,
            rewrites=True,
        )
        return dict(read_bytecode(self._asked(combo, composed, job).result, f"{composed.sources}/"))

    @contextlib.contextmanager
    def session(self, combo: Combo, composed: Composed, *, network: bool) -> Iterator[ForkedSession]:
        """Open an environment; on level 3 it is composed for as long as this lasts, elsewhere it lies on the disk already."""
        network = network or self._sandbox.network
        server = self._server(combo, composed, network=network)
        try:
            with ForkedSession(server, composed, self._sandbox) as session:
                yield session
        except HarnessProblem:
            self._servers.pop((composed.prefix, network, self._shown), server).close()
            raise

    def _server(self, combo: Combo, composed: Composed, *, network: bool | None = None) -> ForkServer:
        network = self._sandbox.network if network is None else network
        key = composed.prefix, network, self._shown
        if key not in self._servers:
            self._end_others(key)
            self._view.mkdir(parents=True, exist_ok=True)
            closures = self._closures.get(combo.interpreter)
            setup = Setup(
                level=self._sandbox.level,
                view=str(self._view),
                environment=child_environment(composed, self._sandbox.passed),
                prefix=composed.prefix,
                layers=self._layers,
                own="" if self._sandbox.level >= 3 else str(Path(composed.home).parent),
                network=network,
                size=self._limits.room,
                processes=self._limits.processes,
                read=tuple(path for path in self._shown if not path.startswith("/dev/")),
                devices=tuple(path for path in self._shown if path.startswith("/dev/")),
                closures=str(closures) if closures and closures.exists() else "",
                pycache=str(self._pycache),
            )
            self._servers[key] = ForkServer(composed.python, setup)
        return self._servers[key]

    def _warmed(self, combo: Combo, composed: Composed) -> ForkServer:
        """Return the server, another one where closures are known by now that were not when it was started."""
        server = self._server(combo, composed)
        found = self._closures.get(combo.interpreter)
        if server.has_closures or not (found and found.exists()):
            return server
        self._servers.pop((composed.prefix, self._sandbox.network, self._shown)).close()
        return self._server(combo, composed)

    @contextlib.contextmanager
    def showing(self, files: Sequence[str]) -> Iterator[None]:
        """Have children come from servers that see these files; who runs unconfined sees them anyway."""
        self._shown = tuple(files) if self._sandbox.level >= 2 else ()
        try:
            yield
        finally:
            self._shown = ()

    def _end_others(self, key: _Key) -> None:
        """Keep, beside the server without devices, one of an environment: there may be many devices."""
        for other in [one for one in self._servers if one[:2] == key[:2] and one[2] and key[2]]:
            self._servers.pop(other).close()

    def forget(self) -> None:
        """End the servers; the next combinations start new ones."""
        while self._servers:
            self._servers.popitem()[1].close()

    def close(self) -> None:
        """End the servers."""
        self.forget()


class ForkedSession:
    """An environment in a fork server that stays until the context's end."""

    def __init__(self, server: ForkServer, composed: Composed, sandbox: Sandbox) -> None:
        self._server = server
        self._composed = composed
        self._owner = SANDBOX_UID if sandbox.level >= 3 and os.getuid() == 0 else -1
        self._overlaid = sandbox.level >= 3
        self._environment = child_environment(composed, sandbox.passed)

    def __enter__(self) -> Self:
        if self._overlaid:
            self._server.stay(self._composed, self._composed.scripts, fresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._overlaid and not (kind and issubclass(kind, _AFTER_WHICH_NO_SERVER_ANSWERS)):
            self._server.leave()

    def extend(self, composed: Composed) -> None:
        """Lay what was written over more layers; on lower levels they lie there already. Raises ``HarnessProblem``."""
        if self._overlaid:
            known = set(self._composed.scripts)
            self._server.stay(composed, [one for one in composed.scripts if one not in known], fresh=False)
        self._composed = composed

    def run(
        self,
        command: Sequence[str],
        limits: Limits,
        variables: Mapping[str, str] = NONE,
        *,
        stdin: str = "",
        apart: bool = False,
    ) -> Ended:
        """Run a program. Raises ``HarnessProblem``."""
        job = CommandJob(
            cwd=self._composed.cwd,
            limits=limits,
            command=tuple(command),
            variables={**self._environment, **variables},
            streams=apart,
            separate=apart,
            stdin=stdin,
            stays=True,
        )
        return self._server.run(job)

    def attach(self, command: Sequence[str], limits: Limits, variables: Mapping[str, str] = NONE) -> Ended:
        """Run a program with the standard streams of this process. Raises ``HarnessProblem``."""
        job = CommandJob(
            cwd=self._composed.cwd,
            limits=limits,
            command=tuple(command),
            variables={**self._environment, **variables},
            stays=True,
        )
        with Relay(self._owner) as relay:
            return self._server.run_attached(job, relay.theirs, relay.copy)


def read_bytecode(result: bytes, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield path below the prefix and bytecode, as bytecode.py writes them; what was cut short or lies elsewhere is left out."""
    at = 0  # by places: to copy what is left, for each of thousands of modules, is to copy gigabytes
    while (after_path := result.find(b"\0", at) + 1) and (begin := result.find(b"\0", after_path) + 1):
        end = begin + int(result[after_path : begin - 1])
        path = os.fsdecode(result[at : after_path - 1])
        if end <= len(result) and path.startswith(prefix):
            yield path.removeprefix(prefix), result[begin:end]
        at = end
