"""Mutants that do the same as the original, and why: by file and change, see ``benchmarks.mutants``."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EQUIVALENT"]

EQUIVALENT: Mapping[str, Mapping[str, str]] = {
    "pytest_spip/dispatch/pool.py": {
        ": NOWHERE = -1.0 -> NOWHERE = -2.0": "any number below zero is less than every load",
        (
            "WorkerPool.offer: if worker.load > worker.bound and self._spares(worker): -> "
            "if worker.load >= worker.bound and self._spares(worker):"
        ): "a second entry in the heap for the same load says nothing new",
    },
}
