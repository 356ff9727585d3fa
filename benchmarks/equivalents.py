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
    "pytest_spip/dispatch/scheduler.py": {
        "Scheduler.__init__: self._waiting = 0 -> pass": "it is set when units are listed, and not asked for before",
        "Scheduler.__init__: self._waiting = 0 -> self._waiting = 1": "it is set when units are listed, and not asked for before",
        "Scheduler.handle: assert_never(event) -> pass": "there is no other event",
        (
            "Scheduler._let_go: if len(units) == 1 and worker.held and (worker.held[0] == units[0]): -> "
            "if len(units) == 2 and worker.held and (worker.held[0] == units[0]):"
        ): "the other branch does the same, slower",
        "Scheduler._suspect: return [] -> return None": "the caller asks only whether there is anything",
        (
            "Scheduler._ask: while count < len(costs) and (not count or taken < half): -> "
            "while count <= len(costs) and (not count or taken < half):"
        ): "when all is taken it is more than half, and a victim has something",
        "Scheduler._let_go: worker.load = 0.0 -> pass": "a sum that was rounded differs by less than anything costs",
    },
}
