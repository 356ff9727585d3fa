"""Provisions combinations in the background: build what has no wheel, lock, fetch, file; reports each as it is ready."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.common.http import Web, file_url_to_path
from pytest_spip.common.tags import best_wheel, pick_file, usable_files
from pytest_spip.common.trees import share_file
from pytest_spip.errors import BadWheel, HashMismatch, IndexProblem, NetworkProblem, SandboxProblem, SpipError
from pytest_spip.model import (
    BuildPolicy,
    Builds,
    Combo,
    DistFile,
    Environment,
    Indexes,
    Interpreter,
    Outcome,
    Phase,
    Plan,
    Provisioned,
    Reason,
    Release,
    StoredWheel,
    Verdict,
    digest,
)
from pytest_spip.provision.builds import Builder
from pytest_spip.provision.confined import Confine
from pytest_spip.provision.demands import absent_extras, metadata_of, refuse_python
from pytest_spip.provision.environment_specs import EnvironmentSpec, EnvironmentSpecs
from pytest_spip.provision.hooks import LIMITS
from pytest_spip.provision.job import Job
from pytest_spip.provision.lanes import BuildNeeded, Lanes, Work
from pytest_spip.provision.locks import Lock, Locked, LockResolver, selected
from pytest_spip.provision.needs import Wanted
from pytest_spip.provision.overlaps import installation
from pytest_spip.provision.project import Project
from pytest_spip.provision.provision_cache import Memory, Remembered
from pytest_spip.provision.resolver import BuiltWheel, Releases, of_dependency
from pytest_spip.provision.store import WheelStore
from pytest_spip.provision.trees import Trees
from pytest_spip.provision.unhashed import is_unchecked, warning
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure

__all__ = ["Provisioner"]

FIRST, LARGEST = 16, 256
"""How many remembered combinations get ready together at first, and at most."""
HARNESS_VERSION = 6
"""Part of every fingerprint: raise it when what we do in an environment could change a verdict."""


NOTHING_MORE = Wanted()
USUAL = BuildPolicy()


class Provisioner:
    """A pool that turns combinations into environments.

    ``on_ready`` is called from the pool's threads with combinations as they get ready, with each once: with many together that
    earlier runs provisioned, and one by one with others. ``on_fault`` is called when even that fails. ``wanted`` and ``project``
    are what environments hold beside a release.
    """

    def __init__(
        self,
        plan: Plan,
        cache: Cache,
        web: Web,
        indexes: Indexes,
        confine: Confine,
        releases: Releases,
        *,
        check: str,
        locks: Path,
        on_ready: Callable[[Sequence[Provisioned]], None],
        on_fault: Callable[[str], None] = lambda _: None,
        wanted: Wanted = NOTHING_MORE,
        project: Project | None = None,
        policy: BuildPolicy = USUAL,
    ) -> None:
        self._interpreters = {one.id: one for one in plan.interpreters}
        self._releases = {(one.package, one.version): one for one in plan.releases}
        self._check = check
        self._locks = locks
        self._on_ready = on_ready
        self._on_fault = on_fault
        self._open: set[int] = set()
        cores = os.cpu_count() or 1
        self._web = web
        self._uv = Uv(indexes, plan.exclude_newer)
        self._settings = indexes.settings.identity
        self._store = WheelStore(cache)
        self._confine = confine
        self._builds = (cache.builds, cache.builds.resolve())
        limits = dataclasses.replace(LIMITS, timeout=policy.timeout, memory=policy.memory)
        self._builder = Builder(
            cache,
            web,
            self._uv,
            confine,
            releases,
            exclude_newer=plan.exclude_newer,
            slots=max(cores, 2),
            wheels_only=policy.never,
            limits=limits,
        )
        self._lock_resolver = LockResolver(
            cache,
            self._uv,
            self._builder.resolver,
            indexes,
            plan.exclude_newer,
            confine.level,
            wheels_only=policy.never,
        )
        self._project = project
        self._specs = EnvironmentSpecs(wanted, project, self._builder, Trees(cache))
        circumstances = self._uv.places, plan.exclude_newer, confine.level, self._specs.circumstances, policy.never
        ages = not (plan.exclude_newer or indexes.offline)
        self._memory = Memory(cache, self._store, circumstances, ages=ages)
        self._threads = min(32, 8 + 2 * cores)
        self._builders = max(cores, 2)
        threads = self._threads + self._builders
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="provision")
        self._lanes = Lanes(iter(()), 0)
        self._stopped = threading.Event()

    def start(self, combos: Iterable[Combo]) -> None:
        """Begin, once. Wheels come before sdists, and builds, the smallest first, hold nothing else up."""
        waiting = tuple(combos)
        self._open = {combo.ordinal for combo in waiting}
        self._lanes = Lanes(self._in_order(waiting), len(waiting))
        # Not a future for each combination: a hundred thousand of them take seconds to submit, and 1.5 KiB each.
        for _ in range(min(self._threads, len(waiting))):
            self._pool.submit(self._guarded, self._work)
        for number in range(min(self._builders, len(waiting))):
            self._pool.submit(self._guarded, functools.partial(self._build, small=number >= self._builders // 2))

    @property
    def builds(self) -> Builds:
        """What is being built, and how many combinations wait for a build."""
        return Builds(self._builder.running, self._lanes.waiting)

    def stop(self) -> None:
        """End: what has not begun is dropped, what runs is killed."""
        self._stopped.set()
        self._lanes.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._web.stop()
        self._uv.stop()
        self._confine.stop()
        self._pool.shutdown(wait=True)
        with contextlib.suppress(OSError):  # then the next run takes longer
            self._memory.save()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a thread's work. Nobody asks its future: what it raises ends provisioning, and everything that waits for it."""
        try:
            work()
        except BaseException as error:
            self._end_for(error)

    def _end_for(self, error: BaseException) -> None:
        verdict = Verdict(Outcome.ERROR, Phase.PLAN, Reason.INTERNAL, f"provisioning: {type(error).__name__}: {error}")
        try:
            self._finish([Provisioned(ordinal, verdict=verdict) for ordinal in sorted(self._open)])
        except BaseException as again:  # such as the disk that the verdicts go to
            self._on_fault(f"provisioning: {type(again).__name__}: {again}")
        self._lanes.stop()

    def _work(self) -> None:
        while not self._stopped.is_set() and (job := self._lanes.next_quick()) is not None:
            if isinstance(job, list):
                self._finish(job)
                continue
            try:
                with self._builder.without_building():
                    done = self._provision(job)
            except BuildNeeded as needed:
                self._lanes.defer(job, needed)
            else:
                self._finish([done])

    def _build(self, *, small: bool) -> None:
        while not self._stopped.is_set() and (turn := self._lanes.next_build(small=small)) is not None:
            key, combo = turn
            done = self._provision(combo)
            self._lanes.built(key)
            self._finish([done])

    def _finish(self, done: Sequence[Provisioned]) -> None:
        fresh = [one for one in done if one.ordinal in self._open]
        if fresh and not self._stopped.is_set():
            self._on_ready(fresh)
        self._open.difference_update(one.ordinal for one in fresh)
        self._lanes.done(len(done))

    def _in_order(self, combos: Iterable[Combo]) -> Iterator[Work]:
        """Yield the most urgent first. Who looks at wheels only when it is their turn keeps nobody waiting for the first.

        Those that are remembered come in lists, short ones at first: their work can begin.
        """
        batch: list[Provisioned] = []
        size = FIRST
        for combo in self._urgent_first(combos):
            known = None if combo.plan_verdict else self._recalled_if_possible(combo)
            if known:
                batch.append(known)
            if batch and (len(batch) == size or not known):
                yield batch
                batch, size = [], min(2 * size, LARGEST)
            if not known:
                yield combo
        if batch:
            yield batch

    def _urgent_first(self, combos: Iterable[Combo]) -> Iterator[Combo]:
        groups: dict[tuple[int, int], list[Combo]] = {}
        for combo in combos:
            if combo.plan_verdict:
                yield combo
            else:
                groups.setdefault(self._interpreters[combo.interpreter].minor, []).append(combo)
        without_wheel = []
        for minor in sorted(groups, reverse=True):
            for combo in groups.pop(minor):
                if self._has_wheels(combo):
                    yield combo
                else:
                    without_wheel.append(combo)
        yield from without_wheel

    def _has_wheels(self, combo: Combo) -> bool:
        interpreter = self._interpreters[combo.interpreter]
        try:
            return all(best_wheel(self._files(one, interpreter), interpreter) for one in self._chosen(combo))
        except Exception:  # it is raised again, and becomes the combination's verdict, when it is provisioned
            return False

    def _recalled_if_possible(self, combo: Combo) -> Provisioned | None:
        try:
            return self._recalled(combo)
        except Exception:  # as above
            return None

    def _chosen(self, combo: Combo) -> tuple[Release, ...]:
        return tuple(self._releases[named] for named in combo.releases)

    def _files(self, release: Release, interpreter: Interpreter) -> tuple[DistFile, ...]:
        return usable_files(release.files, interpreter)

    def _recalled(self, combo: Combo) -> Provisioned | None:
        """Return what an earlier run made of a combination, if all of that is still there."""
        interpreter = self._interpreters[combo.interpreter]
        known = self._memory.find(combo, interpreter, self._chosen(combo))
        if known is None:
            return None
        try:
            self._keep(combo, known.lock)
        except OSError:  # the lock is gone
            return None
        return Provisioned(combo.ordinal, self._filled(combo, known))

    def _keep(self, combo: Combo, lock: str) -> None:
        """Keep the lock with the run."""
        name = "-".join(
            filter(None, (*(part for one in combo.releases for part in one), combo.label, combo.resolution))
        )
        share_file(lock, f"{self._locks}/{name}.toml")

    def _filled(self, combo: Combo, it: Remembered) -> Environment:
        """Return the environment that a lock's wheels fill, beside a tree."""
        wheels = tuple(wheel.within(self._interpreters[combo.interpreter].library) for wheel in it.wheels)
        hashes = [wheel.sha256 for wheel in wheels]
        hashes = hashes if it.replaces else sorted(hashes)
        tree = [Path(it.tree).name, it.place] if it.tree else []
        fingerprint = digest(combo.interpreter, hashes, self._check, HARNESS_VERSION, *tree, *it.suite, *self._settings)
        warnings = dict.fromkeys((*it.warnings, *(text for wheel in wheels for text in wheel.warnings)))
        return Environment(wheels, fingerprint, it.lock, it.tree, it.suite, tuple(warnings), it.place, it.replaces)

    def _provision(self, combo: Combo) -> Provisioned:
        job = Job(combo)
        try:
            environment = None if combo.plan_verdict else self._environment(job)
            return job.done(environment=environment, verdict=combo.plan_verdict)
        except BuildNeeded:
            raise
        except Failure as failure:
            job.work["built" if job.phase is Phase.BUILD else "resolved"] += failure.fresh
            return job.done(verdict=failure.verdict, output=failure.output)
        except SpipError as error:
            return job.done(verdict=_verdict(error, job.phase))
        except OSError as error:
            return job.done(verdict=Verdict(Outcome.ERROR, job.phase, _disk_reason(error), str(error)))
        except Exception as error:  # a combination must end with a verdict, whatever we got wrong
            detail = f"{type(error).__name__}: {error}"
            return job.done(verdict=Verdict(Outcome.ERROR, job.phase, Reason.INTERNAL, detail))

    def _environment(self, job: Job) -> Environment:
        combo, interpreter = job.combo, self._interpreters[job.combo.interpreter]
        spec = self._spec_of(job, interpreter)
        with job.timed(Phase.RESOLVE):
            lock = self._lock(job, spec, interpreter)
            job.resolved(lock)
            self._keep(combo, str(lock.path))
            chosen = [item for item in selected(lock.text, interpreter) if item.name not in self._specs.hidden]
        wheels = tuple(self._wheel(job, item, interpreter) for item in chosen)
        own = {package for package, _ in combo.releases}
        for wheel in wheels:
            if wheel.name in own:
                refuse_python(metadata_of(wheel), interpreter, _blamed(combo, wheel.name, wheel.version))
        installed = installation(wheels, spec.asked, interpreter)
        warnings = (*absent_extras(spec.asked, wheels), *installed.warnings, *job.warnings)
        tree = self._tree(job, spec, wheels)
        it = Remembered(str(lock.path), installed.wheels, *tree, warnings, installed.replaces)
        if not job.warnings:  # else a file may be another one next time
            self._memory.learn(combo, interpreter, self._chosen(combo), it, lock.needs)
        return self._filled(combo, it)

    def _lock(self, job: Job, spec: EnvironmentSpec, interpreter: Interpreter) -> Lock:
        """Resolve; what cannot be resolved for want of a Python that its own release admits fails for that."""
        try:
            return self._lock_resolver.lock(spec.asked, interpreter, spec.own, job.combo.resolution)
        except Failure:
            for release in self._chosen(job.combo):
                file = best_wheel(self._files(release, interpreter), interpreter)
                if file:  # what was built has been asked before
                    with contextlib.suppress(SpipError, OSError):
                        wheel = self._subject(job, release, None, interpreter)
                        blamed = _blamed(job.combo, release.package, release.version)
                        refuse_python(metadata_of(wheel), interpreter, blamed)
            raise

    def extended(self, combo: Combo, environment: Environment, requirements: Sequence[str]) -> Environment:
        """Return an environment with the wheels, filed, that requirements need besides. What is there keeps its version.

        Raises ``Failure`` where that cannot be, ``SpipError`` and ``OSError``.
        """
        job, interpreter = Job(combo), self._interpreters[combo.interpreter]
        pins = [f"{wheel.name}=={wheel.version}" for wheel in environment.wheels]
        lock = self._lock_resolver.lock((*requirements, *pins), interpreter)
        known = {wheel.name for wheel in environment.wheels}
        chosen = [item for item in selected(lock.text, interpreter) if item.name not in known]
        more = [self._wheel(job, item, interpreter) for item in chosen]
        installed = installation(more, requirements, interpreter, below=environment.wheels)
        return dataclasses.replace(
            environment, wheels=(*environment.wheels, *installed.wheels), replaces=installed.replaces
        )

    def _tree(self, job: Job, spec: EnvironmentSpec, wheels: Sequence[StoredWheel]) -> tuple[str, tuple[str, ...], str]:
        """Return the tree that a suite sees, the words for one that is installed, and where it is run."""
        if spec.source is None:
            return "", (), ""
        with job.timed(Phase.INSTALL):
            self._specs.check(spec, wheels)
            tree, suite = self._specs.tree(spec, wheels)
            return str(tree), suite, spec.source.place

    def _spec_of(self, job: Job, interpreter: Interpreter) -> EnvironmentSpec:
        """Return what the environment is to be made of; its project, where it has one, is built."""
        combo, releases = job.combo, self._chosen(job.combo)
        own = {release.package: self._own_wheel(job, release, interpreter) for release in releases}
        wheels = tuple(wheel for wheel in own.values() if wheel)
        phase = self._specs.phase
        with job.timed(phase) if phase else contextlib.nullcontext():
            spec = self._specs.spec(combo, releases[0], interpreter, wheels)
            job.work["built"] += sum(built.fresh for built in spec.own if built not in wheels)
        if combo.resolution != "lowest-direct":
            return spec
        if self._project:
            subjects = [(self._built_wheel(job, spec.own[-1].path, spec.own[-1].sha256), spec.extras)]
        else:
            extras = (spec.extras, *(combo.others_extras or ((),) * len(combo.others)))
            filed = (self._subject(job, release, own[release.package], interpreter) for release in releases)
            subjects = list(zip(filed, extras, strict=True))
        return self._specs.lowered(spec, interpreter, subjects)

    def _subject(self, job: Job, release: Release, own: BuiltWheel | None, interpreter: Interpreter) -> StoredWheel:
        """File a release before it is resolved, for what it requires."""
        if own:
            return self._built_wheel(job, own.path, own.sha256)
        file = best_wheel(self._files(release, interpreter), interpreter)
        assert file is not None, "what has no wheel was built"
        return self._wheel(job, Locked(release.package, file), interpreter)

    def _own_wheel(self, job: Job, release: Release, interpreter: Interpreter) -> BuiltWheel | None:
        """Build a pinned release where it offers no wheel, before it is resolved."""
        file = pick_file(self._files(release, interpreter), interpreter)
        if file is None:
            return None
        if is_unchecked(file):
            job.warnings[warning(file)] = None
        if file.kind == "wheel":  # uv hashes what it downloads; the lock has it
            return None
        file = self._hashed(job, file)
        blamed = _blamed(job.combo, release.package, release.version)
        with job.timed(Phase.BUILD):
            try:
                built = self._builder.wheel(release.package, file, interpreter)
            except Failure:
                refuse_python(self._builder.announced(file), interpreter, blamed)
                raise
            job.work["built"] += built.fresh
        refuse_python(metadata_of(self._built_wheel(job, built.path, built.sha256)), interpreter, blamed)
        return built

    def _hashed(self, job: Job, file: DistFile) -> DistFile:
        with job.timed(Phase.FETCH) if is_unchecked(file) else contextlib.nullcontext():
            return self._builder.hasher.hashed(file)

    def _wheel(self, job: Job, item: Locked, interpreter: Interpreter) -> StoredWheel:
        item = Locked(item.name, self._hashed(job, item.file))
        if item.file.kind == "sdist":
            return self._dependency(job, item, interpreter)
        if item.file.url.startswith("file:"):
            path = file_url_to_path(item.file.url)
            if any(path.is_relative_to(place) for place in self._builds):
                return self._built_wheel(job, path, item.file.sha256)
        return self._listed_wheel(job, item)

    def _dependency(self, job: Job, item: Locked, interpreter: Interpreter) -> StoredWheel:
        """Build what uv takes for an sdist with a wheel that fits, and we do not."""
        with job.timed(Phase.BUILD):
            try:
                built = self._builder.wheel(item.name, item.file, interpreter)
            except Failure as failure:
                raise of_dependency(failure, item.name, item.file.version) from failure
            job.work["built"] += built.fresh
        return self._built_wheel(job, built.path, built.sha256)

    def _built_wheel(self, job: Job, built: Path, sha256: str) -> StoredWheel:
        with job.timed(Phase.INSTALL):
            job.work["filed"] += self._store.file(sha256, built.name, lambda path: _copy(built, path))
        return self._stored(sha256)

    def _listed_wheel(self, job: Job, item: Locked) -> StoredWheel:
        def fetch(path: Path) -> None:
            self._web.download(item.file.url, path, item.file.sha256)
            job.work["downloaded"] += 1

        with job.timed(Phase.FETCH):
            job.work["filed"] += self._store.file(item.file.sha256, item.file.filename, fetch)
        return self._stored(item.file.sha256)

    def _stored(self, sha256: str) -> StoredWheel:
        wheel = self._store.get(sha256)
        assert wheel is not None, "file() returned, so the wheel is there"
        return wheel


def _blamed(combo: Combo, package: str, version: str) -> str:
    """Return what begins a detail that concerns one of several releases."""
    return f"{package} {version}: " if combo.others else ""


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _verdict(error: SpipError, phase: Phase) -> Verdict:
    match error:
        case BadWheel():
            return Verdict(Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA, str(error))
        case NetworkProblem():
            return Verdict(Outcome.ERROR, phase, Reason.NETWORK, str(error))
        case SandboxProblem():
            return Verdict(Outcome.ERROR, phase, Reason.SANDBOX, str(error))
        case IndexProblem() | HashMismatch():
            return Verdict(Outcome.ERROR, phase, Reason.INDEX_ERROR, str(error))
        case _:
            return Verdict(Outcome.ERROR, phase, Reason.INTERNAL, str(error))


def _disk_reason(error: OSError) -> Reason:
    return Reason.NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.INTERNAL
