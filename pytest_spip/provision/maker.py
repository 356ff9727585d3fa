"""Makes the environment of one combination: build what has no wheel, lock, select, file; or the reason why not."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Sequence

from packaging.utils import canonicalize_name

from pytest_spip.common.tags import best_wheel, usable_files
from pytest_spip.common.urls import file_url_to_path
from pytest_spip.errors import (
    BadWheel,
    HarnessProblem,
    HashMismatch,
    IndexProblem,
    NetworkProblem,
    SandboxProblem,
    SpipError,
)
from pytest_spip.model import (
    Combo,
    Environment,
    Interpreter,
    Outcome,
    Phase,
    Provisioned,
    Reason,
    Release,
    StoredWheel,
    Verdict,
)
from pytest_spip.provision.builds import Builder, BuildRules
from pytest_spip.provision.confined import Confine
from pytest_spip.provision.demands import absent_extras, metadata_of, refuse_python
from pytest_spip.provision.environment_specs import EnvironmentSpec, EnvironmentSpecs
from pytest_spip.provision.filing import FillableStore
from pytest_spip.provision.hooks import LIMITS
from pytest_spip.provision.intake import Intake, blamed_on
from pytest_spip.provision.job import Job
from pytest_spip.provision.lanes import BuildNeeded
from pytest_spip.provision.locks import Lock, Locked, LockResolver, selected
from pytest_spip.provision.overlaps import installation
from pytest_spip.provision.provision_cache import Remembered
from pytest_spip.provision.recall import Recall
from pytest_spip.provision.resolver import BuiltWheel
from pytest_spip.provision.trees import Trees
from pytest_spip.provision.uv import Uv
from pytest_spip.provision.uv_output import Failure

__all__ = ["EnvironmentMaker"]


class EnvironmentMaker:
    """Turns a combination into an environment, in whatever thread it is asked."""

    def __init__(self, recall: Recall, confine: Confine) -> None:
        inputs = self._inputs = recall.inputs
        cache, policy = inputs.cache, inputs.policy
        self._recall = recall
        self._confine = confine
        self._interpreters = recall.interpreters
        self._uv = Uv(inputs.indexes, inputs.date)
        store = self._store = FillableStore(cache)
        limits = dataclasses.replace(LIMITS, timeout=policy.timeout, memory=policy.memory)
        self.builder = Builder(
            cache,
            inputs.web,
            self._uv,
            confine,
            inputs.releases,
            BuildRules(inputs.date, max(os.cpu_count() or 1, 2), policy.never, limits, inputs.turn),
        )
        self._lock_resolver = LockResolver(
            cache,
            self._uv,
            self.builder.resolver,
            inputs.indexes,
            inputs.date,
            confine.level,
            wheels_only=policy.never,
        )
        self._intake = Intake(store, inputs.web, self.builder, cache.builds)
        self._specs = EnvironmentSpecs(inputs.wanted, inputs.project, self.builder, Trees(cache))

    def stop(self) -> None:
        """Kill what runs."""
        self._inputs.web.stop()
        self._uv.stop()
        self._confine.stop()

    def close_idle(self) -> None:
        """Give back what is kept for further builds."""
        self._confine.close_idle()

    def provision(self, combo: Combo) -> Provisioned:
        """Make a combination's environment; what goes wrong is its verdict. Raises ``BuildNeeded`` where nothing may be built."""
        job = Job(combo)
        try:
            return job.refused(combo.plan_verdict) if combo.plan_verdict else job.ready(self._environment(job))
        except BuildNeeded:
            raise
        except Failure as failure:
            job.work["built" if job.phase is Phase.BUILD else "resolved"] += failure.fresh
            return job.refused(failure.verdict, failure.output)
        except SpipError as error:
            return job.refused(_verdict(error, job.phase))
        except OSError as error:
            return job.refused(Verdict(Outcome.ERROR, job.phase, _disk_reason(error), str(error)))
        except Exception as error:  # a combination must end with a verdict, whatever we got wrong
            detail = f"{type(error).__name__}: {error}"
            return job.refused(Verdict(Outcome.ERROR, job.phase, Reason.INTERNAL, detail))

    def extended(self, combo: Combo, environment: Environment, requirements: Sequence[str]) -> Environment:
        """Return an environment with the wheels, filed, that requirements need besides. What is there keeps its version.

        Raises ``Failure`` where that cannot be, ``SpipError`` and ``OSError``.
        """
        job, interpreter = Job(combo), self._interpreters[combo.interpreter]
        pins = [f"{wheel.name}=={wheel.version}" for wheel in environment.wheels]
        lock = self._lock_resolver.lock((*requirements, *pins), interpreter)
        known = {wheel.name for wheel in environment.wheels}
        chosen = [item for item in selected(lock.text, interpreter) if item.name not in known]
        more = [self._intake.wheel(job, item, interpreter) for item in chosen]
        installed = installation(more, requirements, interpreter, below=environment.wheels)
        return dataclasses.replace(
            environment, wheels=(*environment.wheels, *installed.wheels), replaces=installed.replaces
        )

    def restored(self, combo: Combo, environment: Environment, lock: str) -> Environment:
        """Return an environment of an earlier run with those of its wheels that left the cache, fetched or built again.

        ``lock`` is the text of its lock. Raises ``Failure`` where a wheel cannot be built, ``SpipError`` and ``OSError``.
        """
        job, interpreter = Job(combo), self._interpreters[combo.interpreter]
        listed = {item.name: item for item in selected(lock, interpreter)}

        def again(wheel: StoredWheel) -> StoredWheel:
            if found := self._store.get(wheel.sha256):
                return found.within(interpreter.library)
            item = listed.get(wheel.name)
            if item is None:
                raise HarnessProblem(f"the lock does not name {wheel.name}")
            if item.file.url.startswith("file:") and not file_url_to_path(item.file.url).exists():
                return self._built_again(job, wheel, interpreter)
            return self._intake.wheel(job, item, interpreter).within(interpreter.library)

        return dataclasses.replace(environment, wheels=tuple(map(again, environment.wheels)))

    def _built_again(self, job: Job, wheel: StoredWheel, interpreter: Interpreter) -> StoredWheel:
        """Return the wheel of a release that was built for a run, and whose build left the cache."""
        project = self._inputs.project
        local = (
            [(project.name, project.sdist), *((one.name, one.file) for one in project.companions)] if project else []
        )
        files = [file for name, file in local if canonicalize_name(name) == wheel.name]
        if not files:
            releases = (one for one in self._inputs.releases(wheel.name) if one.version == wheel.version)
            files = [file for one in releases for file in usable_files(one.files, interpreter) if file.kind == "sdist"]
        if not files:
            raise HarnessProblem(f"{wheel.name} {wheel.version} was built for the run, and its sdist is listed no more")
        built = self.builder.wheel(wheel.name, files[0], interpreter)
        return self._intake.built_wheel(job, built.path, built.sha256).within(interpreter.library)

    def _environment(self, job: Job) -> Environment:
        combo, interpreter = job.combo, self._interpreters[job.combo.interpreter]
        spec = self._spec_of(job, interpreter)
        with job.timed(Phase.RESOLVE):
            lock = self._lock(job, spec, interpreter)
            job.resolved(lock)
            self._recall.keep(combo, str(lock.path))
            chosen = [item for item in selected(lock.text, interpreter) if item.name not in self._specs.hidden]
        wheels = tuple(self._intake.wheel(job, item, interpreter) for item in chosen)
        own = {package for package, _ in combo.releases}
        for wheel in wheels:
            if wheel.name in own:
                refuse_python(metadata_of(wheel), interpreter, blamed_on(combo, wheel.name, wheel.version))
        installed = installation(wheels, spec.asked, interpreter)
        warnings = (*absent_extras(spec.asked, wheels), *installed.warnings, *job.warnings)
        tree = self._tree(job, spec, wheels)
        it = Remembered(str(lock.path), installed.wheels, *tree, warnings, installed.replaces)
        if not job.warnings:  # else a file may be another one next time
            self._recall.learn(combo, it, lock.needs)
        return self._recall.filled(combo, it)

    def _lock(self, job: Job, spec: EnvironmentSpec, interpreter: Interpreter) -> Lock:
        """Resolve; what cannot be resolved for want of a Python that its own release admits fails for that."""
        try:
            return self._lock_resolver.lock(spec.asked, interpreter, spec.own, job.combo.resolution)
        except Failure:
            for release in self._recall.chosen(job.combo):
                file = best_wheel(self._recall.files(release, interpreter), interpreter)
                if file:  # what was built has been asked before
                    with contextlib.suppress(SpipError, OSError):
                        wheel = self._subject(job, release, None, interpreter)
                        blamed = blamed_on(job.combo, release.package, release.version)
                        refuse_python(metadata_of(wheel), interpreter, blamed)
            raise

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
        combo, releases = job.combo, self._recall.chosen(job.combo)
        own = {release.package: self._intake.own_wheel(job, release, interpreter) for release in releases}
        wheels = tuple(wheel for wheel in own.values() if wheel)
        phase = self._specs.phase
        with job.timed(phase) if phase else contextlib.nullcontext():
            spec = self._specs.spec(combo, releases[0], interpreter, wheels)
            job.work["built"] += sum(built.fresh for built in spec.own if built not in wheels)
        if combo.resolution != "lowest-direct":
            return spec
        if self._inputs.project:
            subjects = [(self._intake.built_wheel(job, spec.own[-1].path, spec.own[-1].sha256), spec.extras)]
        else:
            extras = (spec.extras, *(combo.others_extras or ((),) * len(combo.others)))
            filed = (self._subject(job, release, own[release.package], interpreter) for release in releases)
            subjects = list(zip(filed, extras, strict=True))
        return self._specs.lowered(spec, interpreter, subjects)

    def _subject(self, job: Job, release: Release, own: BuiltWheel | None, interpreter: Interpreter) -> StoredWheel:
        """File a release before it is resolved, for what it requires."""
        if own:
            return self._intake.built_wheel(job, own.path, own.sha256)
        file = best_wheel(self._recall.files(release, interpreter), interpreter)
        assert file is not None, "what has no wheel was built"
        return self._intake.wheel(job, Locked(release.package, file), interpreter)


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
