"""A recorded combination's environment, made again for a person: joins record, provision, compose and run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache, open_cache
from pytest_spip.common.http import Web
from pytest_spip.compose.base import BaseRepository, Replica
from pytest_spip.compose.copying import find_copy
from pytest_spip.compose.git import check_git
from pytest_spip.compose.layers import Layers
from pytest_spip.compose.overlay import Overlay
from pytest_spip.compose.ram import Root, choose_root, removed_at_end, short_directory, sweep
from pytest_spip.compose.worktree import Worktree
from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.model import (
    BuildPolicy,
    Check,
    Combo,
    Composed,
    Environment,
    Interpreter,
    Limits,
    Plan,
    Refused,
    Release,
    RunFacts,
    Sandbox,
)
from pytest_spip.options import Settings
from pytest_spip.plan.index import list_project
from pytest_spip.plan.sources import user_indexes
from pytest_spip.provision.maker import EnvironmentMaker
from pytest_spip.provision.project import Project
from pytest_spip.provision.recall import ProvisionInputs, Recall
from pytest_spip.provision.store import WheelStore
from pytest_spip.provision.uv_output import Failure
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.run.alone import AloneRunner
from pytest_spip.run.check_runners import ENV, found_program
from pytest_spip.run.checks import check_runner_of
from pytest_spip.run.confine import BuildSandboxes
from pytest_spip.run.forked import ForkRunner
from pytest_spip.run.levels import recorded_sandbox
from pytest_spip.run.process import Ended
from pytest_spip.run.runner import EnvironmentSession, Runner
from pytest_spip.run.server import SANDBOX_UID, has_fork_servers
from pytest_spip.session.loading import named_combination, open_run
from pytest_spip.session.resume import gone_interpreters, recorded_settings

__all__ = ["Shell", "Subject", "opened_shell", "read_subject"]

PATIENCE = 1e6
"""Seconds that a program may take: a person ends it, not the limit of the run."""
TERMINAL = "/dev/tty"
"""By which programs find the terminal that controls them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A combination of a recorded run, and what its environment was made of."""

    directory: RunDirectory
    facts: RunFacts
    combo: Combo
    interpreter: Interpreter
    environment: Environment

    @property
    def settings(self) -> Settings:
        """The options of the run."""
        return recorded_settings(self.facts)

    @property
    def root(self) -> Path:
        """The directory that holds ``.spip``."""
        return self.directory.path.parent.parent.parent

    @property
    def lock(self) -> str:
        """The text of the lock. Raises ``UsageProblem``."""
        path = self.directory.locks / self.combo.lock_name
        try:
            return path.read_text("utf-8")
        except OSError as error:
            raise UsageProblem(self.combo.id, f"its lock is gone ({path})", self.fix) from error

    @property
    def fix(self) -> str:
        """What to do where something of it is gone."""
        return f"run it again: pytest '{self.combo.nodeid}'"


class Shell:
    """An open environment; what is written there is gone at the end."""

    def __init__(self, subject: Subject, composed: Composed, session: EnvironmentSession, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.composed = composed
        self._session = session
        self._limits = dataclasses.replace(_limits(subject.settings), timeout=PATIENCE)

    def run(self, argv: Sequence[str], variables: Mapping[str, str]) -> Ended:
        """Run a program, found on the environment's PATH, with the standard streams of this process. Raises ``SpipError``."""
        program = (ENV, found_program(self.composed.prefix, argv[0]), *argv[1:])
        return self._session.attach(program, self._limits, variables)


def read_subject(directory: RunDirectory, name: str) -> Subject:
    """Return the combination that an id, or a node id, names. Raises ``UsageProblem`` where it had no environment."""
    with open_run(directory, "RUN", "reads", "run it again") as reader:
        facts = reader.facts()
        combo = named_combination(reader.combos(), name, facts.uuid)
        interpreter = next(one for one in reader.interpreters() if one.id == combo.interpreter)
        made = reader.provision(combo.ordinal)
    verdict = combo.plan_verdict or (made.verdict if isinstance(made, Refused) else None)
    if made is None or isinstance(made, Refused) or verdict:
        why = f"{verdict.reason}: {verdict.detail}" if verdict else "it did not come so far"
        first, *_ = why.splitlines()
        raise UsageProblem(combo.id, f"it had no environment ({first})", f"see 'pytest-spip show {combo.id}'")
    return Subject(directory, facts, combo, interpreter, made.environment)


@contextlib.contextmanager
def opened_shell(subject: Subject, environ: Mapping[str, str], *, terminal: bool) -> Iterator[Shell]:
    """Open a combination's environment as its run had it; ``terminal`` says whether its programs get one.

    Raises ``SpipError``, a ``UsageProblem`` for what cannot be had as it was.
    """
    check_git()
    settings, interpreter = subject.settings, subject.interpreter
    sandbox = recorded_sandbox(int(subject.facts.sandbox), network=settings.network, env=settings.env, environ=environ)
    with contextlib.ExitStack() as stack:
        cache = open_cache(Path(settings.cache))
        stack.callback(cache.close)
        stack.callback(cache.lease().release)
        for why in gone_interpreters([interpreter], cache).values():
            raise UsageProblem(subject.combo.id, why, "install that Python again")
        root = choose_root(_ram(settings), environ)
        stack.enter_context(removed_at_end(root))
        sweep(root)
        environment = _restored(subject, cache, sandbox, root, environ)
        place = _place(interpreter, cache, sandbox, root)
        composed = stack.enter_context(place.composed(environment))
        runner = stack.enter_context(contextlib.closing(_runner(settings, cache, sandbox, root)))
        if terminal:
            stack.enter_context(runner.showing([TERMINAL]))
        session = stack.enter_context(runner.session(subject.combo, composed, network=settings.network))
        yield Shell(subject, composed, session, sandbox)


def _ram(settings: Settings) -> str:
    """Return where environments are to lie; a place of the run's may be another machine's."""
    return settings.ram if settings.ram in ("auto", "off") or Path(settings.ram).is_dir() else "auto"


def _limits(settings: Settings) -> Limits:
    return Limits(timeout=settings.timeout, memory=settings.memory)


def _place(interpreter: Interpreter, cache: Cache, sandbox: Sandbox, root: Root) -> Overlay | Worktree:
    base = BaseRepository(cache)
    base.ensure([interpreter])
    base.replicate(root.path / "base.git")
    replica = Replica(root.path / "base.git", root.path / "shell")
    path = replica.add_worktree(interpreter)
    if sandbox.level >= 3:
        owner = SANDBOX_UID if os.getuid() == 0 else 0
        return Overlay(path, interpreter, Layers(cache, owner), owner)
    copy = find_copy(cache.root, root.path)
    return Worktree(path, interpreter, replica.restore, copy, short_directory(root) / "shell")


def _runner(settings: Settings, cache: Cache, sandbox: Sandbox, root: Root) -> Runner:
    check_runner = check_runner_of(Check(), network=settings.network)
    if not has_fork_servers():
        return AloneRunner(check_runner, sandbox)
    layers = str(cache.layers) if sandbox.level >= 3 else ""
    return ForkRunner(check_runner, sandbox, root.path / "view", layers, {}, _limits(settings), cache.pycache)


def _restored(subject: Subject, cache: Cache, sandbox: Sandbox, root: Root, environ: Mapping[str, str]) -> Environment:
    """Return the recorded environment; what left the cache of it is fetched, or built, again."""
    environment = subject.environment
    if environment.tree and not cache.use(environment.tree):
        raise UsageProblem(subject.combo.id, f"the files of its suite left the cache ({environment.tree})", subject.fix)
    store = WheelStore(cache)
    if all(store.get(wheel.sha256) and Path(wheel.root).is_dir() for wheel in environment.wheels):
        return environment
    with _maker(subject, cache, sandbox, root, environ) as maker:
        try:
            return maker.restored(subject.combo, environment, subject.lock)
        except Failure as failure:
            raise UsageProblem(subject.combo.id, failure.verdict.detail.partition("\n")[0], subject.fix) from failure
        except (SpipError, OSError) as error:
            what = f"a wheel left the cache, and cannot be had again ({str(error).partition(chr(10))[0]})"
            raise UsageProblem(subject.combo.id, what, subject.fix) from error


@contextlib.contextmanager
def _maker(
    subject: Subject, cache: Cache, sandbox: Sandbox, root: Root, environ: Mapping[str, str]
) -> Iterator[EnvironmentMaker]:
    """Yield what fetches and builds as the run did."""
    settings, date = subject.settings, subject.facts.exclude_newer
    indexes = user_indexes(environ, subject.root)
    with contextlib.closing(
        Web([*indexes.logins, *indexes.find_links], trust=indexes.trust, offline=indexes.offline)
    ) as web:

        def releases(project: str) -> Sequence[Release]:
            return list_project(project, indexes, web, cache).releases

        inputs = ProvisionInputs(
            Plan((), (subject.interpreter,), (), date),
            cache,
            web,
            indexes,
            sandbox.level,
            releases,
            check="",
            locks=root.path,
            project=_project(subject, cache),
            policy=BuildPolicy(settings.build == "never", settings.build_timeout, settings.build_memory),
        )
        sandboxes = BuildSandboxes(sandbox, root.path / "build-view", cache)
        maker = EnvironmentMaker(Recall(inputs), sandboxes)
        try:
            yield maker
        finally:
            maker.stop()


def _project(subject: Subject, cache: Cache) -> Project | None:
    """Return the project whose suite was run, as far as its files are still there."""
    with contextlib.suppress(FileNotFoundError):
        return Project.from_plain(subject.facts.project, cache) if subject.facts.project else None
    return None
