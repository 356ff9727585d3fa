"""Counts what the Pythons of a command load and start, from inside them: a clock would measure the machine instead."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Counts", "counting", "read_counts"]

CUSTOM = """
import atexit, json, os, sys

started, loaded, exit = [], [], os._exit


def hear(event, arguments):
    if event == "subprocess.Popen":
        started.append([os.path.basename(os.fsdecode(arguments[0])), *map(os.fsdecode, arguments[1][1:])])


def write():
    with open("/proc/self/comm") as stream:
        role = "worker" if stream.read().startswith("spip-gw") or sys.argv[0] == "-c" else "controller"
    everything = set(sys.modules)
    counts = {
        "modules": sorted(everything - (loaded[0] if loaded else set())),
        "late": sorted(everything - (loaded[-1] if loaded else set())),
        "started": started,
    }
    with open(os.path.join(os.path.dirname(__file__), "%s-%d.json" % (role, os.getpid())), "w") as stream:
        json.dump(counts, stream)


def fork():
    loaded.append(set(sys.modules))
    started.clear()


def leave(status):
    if len(loaded) == 2:
        write()
    exit(status)


os._exit = leave
os.register_at_fork(after_in_child=fork)
sys.addaudithook(hear)
atexit.register(write)
"""


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a process had loaded at its end, and the programs that it had started, with their arguments.

    ``modules`` of a worker that was forked are those that were loaded for workers, and ``late`` those that it loaded itself.
    """

    modules: frozenset[str]
    late: frozenset[str]
    started: tuple[tuple[str, ...], ...]

    @property
    def own(self) -> frozenset[str]:
        """The modules of ours."""
        return frozenset(name for name in self.modules if name.partition(".")[0] == "pytest_spip")

    @property
    def programs(self) -> list[str]:
        """The names of the programs, each Python as one."""
        return sorted("python" if name.startswith("python") else name for name, *_ in self.started)


def counting(place: Path) -> Mapping[str, str]:
    """Return variables with which Pythons leave their counts in a directory."""
    place.mkdir()
    (place / "sitecustomize.py").write_text(CUSTOM, "utf-8")
    return {"PYTHONPATH": str(place)}


def read_counts(place: Path) -> dict[str, Counts]:
    """Return the counts by role: of the controller, and of the worker, if there was one."""
    found = {}
    for path in place.glob("*.json"):
        plain = json.loads(path.read_text("utf-8"))
        found[path.name.partition("-")[0]] = Counts(
            frozenset(plain["modules"]), frozenset(plain["late"]), tuple(map(tuple, plain["started"]))
        )
    return found
