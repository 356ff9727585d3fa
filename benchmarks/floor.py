"""The floor under every warm runner: what a bare fork and the import itself cost, for each combination.

The wheel is unpacked and its bytecode compiled beforehand; the interpreter that forks has already imported the standard
library's modules that the package asks for.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
import subprocess
from collections.abc import Sequence

from benchmarks.wheels import Unpacked

__all__ = ["Floor", "floors"]

FORKS = 40

NEEDED = """\
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
__import__(sys.argv[2])
files = {name: getattr(module, "__file__", None) or "" for name, module in list(sys.modules.items())}
print(" ".join(name for name, file in files.items() if name not in before and not file.startswith(sys.argv[1])))
"""

FORK = """\
import gc, json, os, resource, sys, time
site, module, forks, needed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
for name in needed:
    __import__(name)

def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

def run(work):
    before = used()
    began = time.perf_counter()
    failed = 0
    for _ in range(forks):
        child = os.fork()
        if not child:
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
        failed += os.waitpid(child, 0)[1] != 0
    seconds = time.perf_counter() - began
    return {"seconds": seconds / forks, "cpu": (used() - before) / forks, "failed": failed}

gc.collect()
gc.freeze()
bare = run(lambda: None)
sys.path.insert(0, site)
print(json.dumps({"bare": bare, "imported": run(lambda: __import__(module))}))
"""


@dataclasses.dataclass(frozen=True)
class Floor:
    """CPU and elapsed seconds of a fork alone, and of a fork that imports; medians over releases of one interpreter."""

    fork_cpu: float
    import_cpu: float
    fork_seconds: float
    import_seconds: float


def floors(unpacked: Sequence[Unpacked], module: str) -> dict[str, Floor]:
    """Measure the floor of each interpreter, by its identifier."""
    interpreters = dict.fromkeys(each.combination.interpreter for each in unpacked)
    return {
        one: _floor([each for each in unpacked if each.combination.interpreter == one], module) for one in interpreters
    }


def _floor(unpacked: Sequence[Unpacked], module: str) -> Floor:
    """Measure every release on one interpreter."""
    told = [_forked(each, module) for each in unpacked]
    median = functools.partial(_median, told)
    return Floor(
        median("bare", "cpu"), median("imported", "cpu"), median("bare", "seconds"), median("imported", "seconds")
    )


def _median(told: Sequence[dict[str, dict[str, float]]], what: str, figure: str) -> float:
    return statistics.median(each[what][figure] for each in told if not each[what]["failed"])


def _forked(unpacked: Unpacked, module: str) -> dict[str, dict[str, float]]:
    """Have one interpreter fork many times, without and with the import."""
    python, site = str(unpacked.combination.path), str(unpacked.site)
    needed = _output([python, "-I", "-S", "-B", "-c", NEEDED, site, module]).split()
    told: dict[str, dict[str, float]] = json.loads(
        _output([python, "-I", "-S", "-B", "-c", FORK, site, module, str(FORKS), *needed])
    )
    return told


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout
