"""The runner of a worker."""

from __future__ import annotations

from pathlib import Path

from pytest_spip.common.cache import Cache
from pytest_spip.run.checks import check_runner_of
from pytest_spip.run.forked import ForkRunner
from pytest_spip.run.runner import Runner
from pytest_spip.run.server import has_fork_servers
from pytest_spip.session.worker_spec import WorkerSpec

__all__ = ["runner_of"]


def runner_of(spec: WorkerSpec, worker: str) -> Runner:
    """Return the runner that this system, and the sandbox that was chosen, allow."""
    check_runner = check_runner_of(spec.check, network=spec.sandbox.network, shared=bool(spec.project))
    if not has_fork_servers():
        from pytest_spip.run.alone import AloneRunner  # for systems that are not Linux

        return AloneRunner(check_runner, spec.sandbox)
    closures = {interpreter: Path(path) for interpreter, path in spec.closures.items()}
    cache = Cache(Path(spec.cache))
    layers = str(cache.layers) if spec.sandbox.level >= 3 else ""
    view = Path(spec.room) / f"view-{worker}"
    return ForkRunner(check_runner, spec.sandbox, view, layers, closures, spec.limits, cache.pycache)
