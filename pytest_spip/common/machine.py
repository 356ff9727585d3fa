"""What the machine offers and how it is doing: ``/proc`` and ``/sys``, affinity, control groups; psutil where they are missing.

Sources: proc(5), cgroups(7), sched_setaffinity(2), and the kernel's ``Documentation/admin-guide/cgroup-v2.rst``,
``cgroup-v1/memory.rst``, ``accounting/psi.rst``, ``ABI/stable/sysfs-devices-system-cpu``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

__all__ = ["FLOOR", "Cpu", "Machine", "Pressure", "ProcessorTimes", "Snapshot", "pin", "worker_count"]

FLOOR = 256 << 20
"""Bytes that must be available for each worker that ``-n auto`` starts: the worker, its fork servers, and one import."""
SPARES = 2
"""Workers beyond cores that ``-n auto`` starts at most."""
UNLIMITED = 1 << 60
"""Bytes from which a limit is none: version 1 of control groups writes the largest number of whole pages."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cpu:
    """A logical processor; processors with the same ``core`` are its hardware threads. ``node`` is its NUMA node."""

    number: int
    core: int
    node: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Pressure:
    """Shares (0 to 1) of the last ten seconds in which some, or all, tasks waited for a resource; 0 where nobody counts.

    ``counted`` says whether the kernel does.
    """

    some: float = 0.0
    full: float = 0.0
    counted: bool = dataclasses.field(default=False, compare=False)


class ProcessorTimes(NamedTuple):
    """Time of the processors that this process may use, all together, in one unit or another: only shares mean something."""

    busy: float
    iowait: float
    total: float

    def shares_since(self, before: ProcessorTimes) -> tuple[float, float]:
        """Return the shares (0 to 1) of the time since then that were busy and that waited for disks."""
        busy, iowait, total = (now - then for now, then in zip(self, before, strict=True))
        return _share(busy, total), _share(iowait, total)


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """The machine at one instant, as far as this process may use it. Memory in bytes.

    ``cpu`` and ``iowait`` are shares (0 to 1) of the time of our processors since the look before, which others use too.
    """

    processors: int
    memory_total: int
    memory_available: int
    cpu_pressure: Pressure = Pressure()
    memory_pressure: Pressure = Pressure()
    io_pressure: Pressure = Pressure()
    cpu: float = 0.0
    iowait: float = 0.0

    @property
    def memory_used(self) -> int:
        """Bytes of the total that cannot be had, whoever holds them."""
        return max(self.memory_total - self.memory_available, 0)


class Machine:
    """Looks at the machine whose files lie below ``root``; ``allowed`` are the processors to count (this process's affinity)."""

    def __init__(self, root: Path = Path("/"), allowed: Collection[int] | None = None) -> None:
        self._root = root
        self._allowed = _affinity() if allowed is None else frozenset(allowed)
        self._groups = _Groups(root)
        self._times = self.times()

    def look(self) -> Snapshot:
        """Return how things are now. What cannot be read counts as idle; raises nothing."""
        before, self._times = self._times, self.times()
        cpu, iowait = self._times.shares_since(before)
        available, whole = self._memory()
        return Snapshot(
            processors=self.processors,
            memory_total=whole,
            memory_available=available,
            cpu_pressure=self._pressure("cpu"),
            memory_pressure=self._pressure("memory"),
            io_pressure=self._pressure("io"),
            cpu=cpu,
            iowait=iowait,
        )

    @property
    def processors(self) -> int:
        """Processors that we may use, of which a control group may grant less than all."""
        return math.ceil(min(len(self._allowed), self.quota))

    @property
    def quota(self) -> float:
        """Processors' worth of time that the tightest control group grants; infinity where none limits it."""
        return min((quota for quota, _ in self._groups.quotas()), default=math.inf)

    def topology(self) -> tuple[Cpu, ...]:
        """Return the processors that we may use, by number."""
        nodes = dict(self._nodes())
        # Without sysfs (macOS) hardware threads are known by their number alone; which belong together does not matter there.
        cores = psutil.cpu_count(logical=False) or len(self._allowed)
        return tuple(
            Cpu(number, self._core(number, number % cores), nodes.get(number, 0)) for number in sorted(self._allowed)
        )

    def _core(self, number: int, otherwise: int) -> int:
        """Return the first hardware thread of a processor's core: core ids repeat from package to package."""
        topology = self._root / f"sys/devices/system/cpu/cpu{number}/topology"
        siblings = _cpu_list(_text(topology / "core_cpus_list") or _text(topology / "thread_siblings_list"))
        return min(siblings, default=otherwise)

    def _nodes(self) -> Iterator[tuple[int, int]]:
        for path in sorted(self._root.glob("sys/devices/system/node/node[0-9]*")):
            node = int(path.name.removeprefix("node"))
            yield from ((number, node) for number in _cpu_list(_text(path / "cpulist")))

    def _memory(self) -> tuple[int, int]:
        """Return bytes available and in all: the tightest of the machine and the control groups."""
        known = {name: int(size) << 10 for name, size in _pairs(self._root / "proc/meminfo") if size.isdecimal()}
        if not known.keys() >= {"MemTotal", "MemAvailable"}:
            memory = psutil.virtual_memory()
            known = {"MemTotal": memory.total, "MemAvailable": memory.available}
        limits = list(self._groups.memory())
        available = min([known["MemAvailable"], *(limit - used for limit, used in limits)])
        return max(available, 0), min([known["MemTotal"], *(limit for limit, _ in limits)])

    def _pressure(self, resource: str) -> Pressure:
        """Return our own control group's pressure, which our tasks feel; else the machine's."""
        text = self._groups.pressure(resource) or _text(self._root / "proc/pressure" / resource)
        shares = {
            kind: float(share) / 100 for kind, share in re.findall(r"^(some|full) avg10=([\d.]+)", text, re.MULTILINE)
        }
        return Pressure(**shares, counted="some" in shares)

    def times(self) -> ProcessorTimes:
        """Return what our processors have done since the machine started, whoever used them.

        Where a control group grants less than these, its own tasks count, and the whole is what it grants.
        """
        times = self._times_of_processors()
        quota, used = min(self._groups.quotas(), key=operator.itemgetter(0), default=(math.inf, None))
        granted = quota / len(self._allowed)
        if granted >= 1:
            return times
        busy = times.busy if used is None else used * os.sysconf("SC_CLK_TCK")
        return ProcessorTimes(busy, times.iowait, times.total * granted)

    def _times_of_processors(self) -> ProcessorTimes:
        lines = re.findall(r"^cpu(\d+) (.*)$", _text(self._root / "proc/stat"), re.MULTILINE)
        # Guest time, the ninth column and the tenth, is in user time already.
        rows = [[float(word) for word in line.split()[:8]] for number, line in lines if int(number) in self._allowed]
        if not rows:
            times = psutil.cpu_times()
            return ProcessorTimes(sum(times) - times.idle, 0.0, sum(times))
        columns = [sum(column) for column in zip(*rows, strict=True)]
        idle, iowait = columns[3], columns[4]
        return ProcessorTimes(sum(columns) - idle - iowait, iowait, sum(columns))


class _Groups:
    """The control groups of this process, of both versions, each with those around it, innermost first."""

    def __init__(self, root: Path) -> None:
        mounts = dict(_mounts(root))
        self._chains: dict[str, tuple[Path, ...]] = {}
        for line in _text(root / "proc/self/cgroup").splitlines():
            _, names, path = line.split(":", 2)
            for name in names.split(","):
                if name in mounts:
                    self._chains[name] = tuple(_upwards(path, *mounts[name]))

    def quotas(self) -> Iterator[tuple[float, float | None]]:
        """Yield processors' worth of time, for each group that grants less than all, with the seconds that its tasks have used.

        These are None where the group does not count them.
        """
        for group in self._chains.get("", ()):
            quota, _, period = _text(group / "cpu.max").strip().partition(" ")
            used = dict(_pairs(group / "cpu.stat")).get("usage_usec", "")
            yield from ((ratio, int(used) / 1e6 if used.isdecimal() else None) for ratio in _ratio(quota, period))
        for group in self._chains.get("cpu", ()):
            quota, period = (_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
            used = _text(group / "cpuacct.usage").strip()
            yield from ((ratio, int(used) / 1e9 if used.isdecimal() else None) for ratio in _ratio(quota, period))

    def memory(self) -> Iterator[tuple[int, int]]:
        """Yield limit and bytes used, less the page cache that can be reclaimed, for each group that has a limit."""
        for group in self._chains.get("", ()):
            limits = [_number(group / name) for name in ("memory.max", "memory.high")]
            used = _number(group / "memory.current")
            yield from ((limit, used - _reclaimable(group, "")) for limit in limits if 0 < limit < UNLIMITED)
        for group in self._chains.get("memory", ()):
            limit, used = _number(group / "memory.limit_in_bytes"), _number(group / "memory.usage_in_bytes")
            if 0 < limit < UNLIMITED:
                yield limit, used - _reclaimable(group, "total_")

    def pressure(self, resource: str) -> str:
        """Return the innermost group's pressure file, or nothing."""
        return next((_text(group / f"{resource}.pressure") for group in self._chains.get("", ())), "")


def worker_count(machine: Machine, *, logical: bool = False, share: float = 1.0, spares: bool = False) -> int:
    """Return how many workers keep the machine busy: one for a share of the cores (``logical``: of their threads), at least one.

    Cores count as far as this process may use them, at most as many as the quota grants, rounded up; and for each
    :data:`FLOOR` bytes of memory must be available. ``spares`` are up to two more, one at least for two cores: a worker
    waits at times, for its fork server, a file system or the kernel, and leaves its core to one of them.
    """
    cpus = machine.topology()
    count = len(cpus) if logical else len({cpu.core for cpu in cpus})
    fitting = machine.look().memory_available // FLOOR
    wanted = math.ceil(min(count, machine.quota) * share)
    return max(1, min(wanted + (min(SPARES, wanted // 2) if spares else 0), fitting))


def pin(cpus: Collection[int]) -> bool:
    """Keep this process, all its threads and what it starts from now on, on some processors; tell whether that worked."""
    setter = getattr(os, "sched_setaffinity", None)
    if setter is None or not cpus:
        return False
    try:
        setter(0, cpus)
    except OSError:  # a processor that has gone, or one that we may not use any more
        return False
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # the thread has ended
            setter(int(task), cpus)
    return True


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _mounts(root: Path) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Yield controller, nothing for version 2, with where its hierarchy is mounted and which group is mounted there."""
    pattern = r"^\S+ \S+ \S+ (\S+) (\S+) .* - (cgroup2?) \S+ (\S+)$"
    for inner, place, kind, options in re.findall(pattern, _text(root / "proc/self/mountinfo"), re.MULTILINE):
        names = options.split(",") if kind == "cgroup" else [""]
        yield from ((name, (root / place.lstrip("/"), inner)) for name in names)


def _upwards(path: str, mount: Path, inner: str) -> Iterator[Path]:
    """Yield the directories of a group and of those around it, as far as they are mounted."""
    below = os.path.relpath(path, inner)
    # In a container that has no namespace for control groups the path is the host's, and means nothing here.
    group = mount / below if not below.startswith("..") and (mount / below).is_dir() else mount
    yield from (one for one in (group, *group.parents) if one.is_relative_to(mount))


def _reclaimable(group: Path, prefix: str) -> int:
    wanted = {f"{prefix}{name}" for name in ("inactive_file", "active_file")}
    return sum(int(size) for name, size in _pairs(group / "memory.stat") if name in wanted and size.isdecimal())


def _ratio(quota: str, period: str) -> Iterator[float]:
    if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
        yield int(quota) / int(period)


def _share(part: float, whole: float) -> float:
    # The kernel's I/O-wait may run backwards, see proc(5).
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0


def _cpu_list(text: str) -> Iterator[int]:
    """Yield the numbers of ``0-3,8,10-11``."""
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        yield from range(int(first), int(last or first) + 1)


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the first two words of each line, the first without its colon."""
    words = (line.split() for line in _text(path).splitlines())
    yield from ((line[0].rstrip(":"), line[1]) for line in words if len(line) > 1)


def _number(path: Path) -> int:
    """Return the number that a file holds, 0 where it holds none."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
