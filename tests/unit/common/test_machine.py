"""What the machine offers and how it is doing, read from trees of files such as kernels show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from pytest_spip.common.machine import FLOOR, Cpu, Machine, Pressure, Snapshot, worker_count

GIB = 1 << 30
MEMINFO = "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\nHugePages_Total: 0\n"
V2 = {
    "proc/self/mountinfo": "26 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    "proc/self/cgroup": "0::/ci/job\n",
    "sys/fs/cgroup/ci/job/cgroup.procs": "",
}
V1 = {
    "proc/self/mountinfo": (
        "30 23 0:25 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "31 23 0:26 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
        "32 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    ),
    "proc/self/cgroup": "9:cpu,cpuacct:/ci/job\n8:memory:/ci/job\n1:name=systemd:/x\n0::/\n",
    "sys/fs/cgroup/cpu,cpuacct/ci/job/cgroup.procs": "",
    "sys/fs/cgroup/memory/ci/job/cgroup.procs": "",
}
# A container sees its own group at the mount point, and without a namespace its path is the host's.
CONTAINER = {
    "proc/self/mountinfo": "40 39 0:22 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
    "proc/self/cgroup": "0::/docker/1f\n",
}
JOB, CI, TOP = "sys/fs/cgroup/ci/job", "sys/fs/cgroup/ci", "sys/fs/cgroup"
CPU, MEMORY = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory"
ENDLESS = "9223372036854771712\n"
EIGHT = range(8)


def machine(root: Path, *trees: Mapping[str, str], allowed: range = EIGHT) -> Machine:
    """Return a machine with these files."""
    for tree in trees:
        write(root, tree)
    return Machine(root, allowed)


def write(root: Path, tree: Mapping[str, str]) -> None:
    """Write files by path."""
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


# -- processors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (V2, None),
        (V2 | {f"{JOB}/cpu.max": "max 100000\n"}, None),
        (V2 | {f"{JOB}/cpu.max": "250000 100000\n"}, 2.5),
        (V2 | {f"{JOB}/cpu.max": "400000 100000\n", f"{CI}/cpu.max": "150000 100000\n"}, 1.5),
        (V2 | {f"{JOB}/cpu.max": "50000 100000\n", f"{CI}/cpu.max": "150000 100000\n"}, 0.5),
        (CONTAINER | {f"{TOP}/cpu.max": "300000 100000\n"}, 3.0),
        (CONTAINER | {"proc/self/cgroup": "0::/../other\n", f"{TOP}/cpu.max": "300000 100000\n"}, 3.0),
        (V1, None),
        (V1 | {f"{CPU}/ci/job/cpu.cfs_quota_us": "-1\n", f"{CPU}/ci/job/cpu.cfs_period_us": "100000\n"}, None),
        (V1 | {f"{CPU}/ci/job/cpu.cfs_quota_us": "150000\n", f"{CPU}/ci/job/cpu.cfs_period_us": "50000\n"}, 3.0),
        (V1 | {f"{CPU}/ci/cpu.cfs_quota_us": "120000\n", f"{CPU}/ci/cpu.cfs_period_us": "100000\n"}, 1.2),
        (V2 | {f"{JOB}/cpu.max": "garbage\n", f"{CI}/cpu.max": ""}, None),
    ],
)
def test_quota(tmp_path: Path, files: Mapping[str, str], quota: float | None) -> None:
    """The tightest of a group and those around it grants processors' worth of time, in both versions."""
    assert machine(tmp_path, files).quota == (float("inf") if quota is None else quota)


def test_topology(tmp_path: Path) -> None:
    """Hardware threads of a core are told by their siblings, nodes by their lists; others' processors are left out."""
    files = {f"sys/devices/system/cpu/cpu{n}/topology/core_cpus_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)}
    files |= {
        "sys/devices/system/node/node0/cpulist": "0-1,4-5\n",
        "sys/devices/system/node/node1/cpulist": "2-3,6-7\n",
    }
    files |= {"sys/devices/system/node/node10/cpulist": "\n"}
    seen = machine(tmp_path, files, allowed=range(1, 7)).topology()
    assert seen == (Cpu(1, 1, 0), Cpu(2, 2, 1), Cpu(3, 3, 1), Cpu(4, 0, 0), Cpu(5, 1, 0), Cpu(6, 2, 1))


def test_topology_of_older_kernels(tmp_path: Path) -> None:
    """Siblings are read from where kernels before 5.5 have them, as a range."""
    files = {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n & ~1}-{n | 1}\n" for n in range(4)}
    assert [cpu.core for cpu in machine(tmp_path, files, allowed=range(4)).topology()] == [0, 0, 2, 2]


def test_topology_without_sysfs(tmp_path: Path) -> None:
    """Without files there is one node, and as many cores as the system says, if it says so."""
    seen = Machine(tmp_path, range(64)).topology()
    assert {cpu.node for cpu in seen} == {0}
    assert len({cpu.core for cpu in seen}) == min(psutil.cpu_count(logical=False) or 64, 64)


THREADS = {f"sys/devices/system/cpu/cpu{n}/topology/core_cpus_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)}
PLENTY = {"proc/meminfo": MEMINFO}


@pytest.mark.parametrize(
    ("files", "allowed", "wanted", "count"),
    [
        ({}, range(8), {}, 4),
        ({}, range(8), {"logical": True}, 8),
        ({}, range(4), {"logical": True}, 4),
        ({}, range(1, 4), {}, 3),
        ({}, range(8), {"share": 0.5}, 2),
        ({}, range(3), {"share": 0.5}, 2),
        ({}, range(1), {"share": 0.5}, 1),
        (V2 | {f"{CI}/cpu.max": "250000 100000\n"}, range(8), {}, 3),
        (V2 | {f"{CI}/cpu.max": "250000 100000\n"}, range(8), {"share": 0.5}, 2),
        (V2 | {f"{CI}/cpu.max": "10000 100000\n"}, range(8), {}, 1),
        (V2 | {f"{CI}/cpu.max": "10000 100000\n"}, range(8), {"spares": True}, 1),
        (V2 | {f"{CI}/cpu.max": "200000 100000\n"}, range(8), {"spares": True}, 3),
        (V2, range(8), {"logical": True, "spares": True}, 10),
        (V2 | {f"{CI}/cpu.max": "9900000 100000\n"}, range(8), {"logical": True}, 8),
        ({"proc/meminfo": f"MemTotal: 1048576 kB\nMemAvailable: {3 * FLOOR >> 10} kB\n"}, range(8), {}, 3),
        ({"proc/meminfo": f"MemTotal: 1048576 kB\nMemAvailable: {(3 * FLOOR >> 10) - 1} kB\n"}, range(8), {}, 2),
        ({"proc/meminfo": "MemTotal: 1048576 kB\nMemAvailable: 1 kB\n"}, range(8), {}, 1),
        (V2 | {f"{CI}/memory.max": f"{2 * FLOOR}\n", f"{CI}/memory.current": "0\n"}, range(8), {}, 2),
        (V2 | {f"{CI}/memory.max": f"{2 * FLOOR}\n", f"{CI}/memory.current": "0\n"}, range(8), {"spares": True}, 2),
    ],
)
def test_processors(
    tmp_path: Path, files: Mapping[str, str], allowed: range, wanted: dict[str, float], count: int
) -> None:
    """``-n auto`` counts cores, or threads, within affinity and quota, a share of them, and only those with memory."""
    assert worker_count(machine(tmp_path, THREADS, PLENTY, files, allowed=allowed), **wanted) == count  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("used", "before", "after", "share"),
    [
        (f"{JOB}/cpu.stat", "usage_usec 1000000\nuser_usec 5\n", "usage_usec 3000000\n", 0.8),
        (f"{JOB}/cpu.stat", "nothing\n", "nothing\n", 1.0),
    ],
)
def test_share_of_a_quota(tmp_path: Path, used: str, before: str, after: str, share: float) -> None:
    """Under a quota of 2.5 of 8 processors, two seconds used in one are four fifths; what is not counted is taken from all."""
    quota = V2 | {f"{JOB}/cpu.max": "250000 100000\n"}
    tick = os.sysconf("SC_CLK_TCK")
    seen = machine(tmp_path, quota | {used: before} | stat(*["0 0 0 0 0 0 0 0 0 0"] * 8))
    for name, text in ({used: after} | stat(*[f"{tick // 2} 0 0 {tick - tick // 2} 0 0 0 0 0 0"] * 8)).items():
        (tmp_path / name).write_text(text)
    assert seen.look().cpu == pytest.approx(share)


# -- memory -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "available", "total"),
    [
        (PLENTY, 8 * GIB, 16 * GIB),
        (PLENTY | V2 | {f"{JOB}/memory.max": "max\n", f"{JOB}/memory.current": f"{GIB}\n"}, 8 * GIB, 16 * GIB),
        (PLENTY | V2 | {f"{JOB}/memory.max": f"{4 * GIB}\n", f"{JOB}/memory.current": f"{GIB}\n"}, 3 * GIB, 4 * GIB),
        (PLENTY | V2 | {f"{JOB}/memory.high": f"{4 * GIB}\n", f"{JOB}/memory.current": f"{GIB}\n"}, 3 * GIB, 4 * GIB),
        (
            PLENTY
            | V2
            | {f"{JOB}/memory.max": f"{4 * GIB}\n", f"{JOB}/memory.current": f"{3 * GIB}\n"}
            | {f"{JOB}/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB >> 1}\nshmem 7\n"},
            GIB + GIB + (GIB >> 1),
            4 * GIB,
        ),
        (
            PLENTY
            | V2
            | {f"{JOB}/memory.max": f"{4 * GIB}\n", f"{JOB}/memory.current": f"{GIB}\n"}
            | {f"{CI}/memory.max": f"{6 * GIB}\n", f"{CI}/memory.current": f"{5 * GIB}\n"},
            GIB,
            4 * GIB,
        ),
        (PLENTY | V2 | {f"{CI}/memory.max": f"{GIB}\n", f"{CI}/memory.current": f"{2 * GIB}\n"}, 0, GIB),
        (
            PLENTY | V1 | {f"{MEMORY}/ci/job/memory.limit_in_bytes": ENDLESS, f"{MEMORY}/memory.usage_in_bytes": "5\n"},
            8 * GIB,
            16 * GIB,
        ),
        (
            PLENTY
            | V1
            | {f"{MEMORY}/ci/memory.limit_in_bytes": f"{2 * GIB}\n", f"{MEMORY}/ci/memory.usage_in_bytes": f"{GIB}\n"}
            | {f"{MEMORY}/ci/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB >> 1}\ntotal_active_file 0\n"},
            GIB + (GIB >> 1),
            2 * GIB,
        ),
    ],
)
def test_memory(tmp_path: Path, files: Mapping[str, str], available: int, total: int) -> None:
    """The tightest of the machine and all groups around us counts; page cache that can be reclaimed is not in use."""
    seen = machine(tmp_path, files).look()
    assert (seen.memory_available, seen.memory_total) == (available, total)
    assert seen.memory_used == total - available


def test_memory_without_files(tmp_path: Path) -> None:
    """Where the kernel tells nothing, psutil does."""
    seen = Machine(tmp_path).look()
    assert seen.memory_total == psutil.virtual_memory().total
    assert 0 < seen.memory_available <= seen.memory_total


# -- pressure, and the time of processors -------------------------------------------------------------------------------

MEMORY_PRESSURE = "some avg10=1.50 avg60=2.00 avg300=3.00 total=4\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=5\n"


@pytest.mark.parametrize(
    ("files", "pressure"),
    [
        ({}, Pressure()),
        ({"proc/pressure/memory": MEMORY_PRESSURE}, Pressure(0.015, 0.005)),
        ({"proc/pressure/memory": MEMORY_PRESSURE.splitlines()[0]}, Pressure(0.015, 0.0)),
        (V2 | {"proc/pressure/memory": MEMORY_PRESSURE}, Pressure(0.015, 0.005)),
        (
            V2
            | {
                "proc/pressure/memory": MEMORY_PRESSURE,
                f"{JOB}/memory.pressure": "some avg10=40.00\nfull avg10=20.00\n",
            }
            | {f"{CI}/memory.pressure": "some avg10=90.00\n"},
            Pressure(0.4, 0.2),
        ),
    ],
)
def test_pressure(tmp_path: Path, files: Mapping[str, str], pressure: Pressure) -> None:
    """Our own group's pressure over ten seconds counts, else the machine's; where none is told there is none."""
    seen = machine(tmp_path, files).look()
    assert seen.memory_pressure == pressure
    assert (seen.cpu_pressure, seen.io_pressure) == (Pressure(), Pressure())


def stat(*rows: str) -> dict[str, str]:
    """Return ``/proc/stat`` with processors' times: user nice system idle iowait irq softirq steal guest guest_nice."""
    return {"proc/stat": "cpu  1 2 3 4 5\n" + "".join(f"cpu{n} {row}\n" for n, row in enumerate(rows)) + "intr 1 2\n"}


@pytest.mark.parametrize(
    ("before", "after", "cpu", "iowait"),
    [
        ("0 0 0 0 0 0 0 0 0 0", "60 5 5 20 10 0 0 0 60 0", 0.7, 0.1),
        ("10 0 0 90 0 0 0 0 0 0", "20 0 0 180 0 0 0 0 0 0", 0.1, 0.0),
        ("10 0 0 10 9 0 0 0 0 0", "20 0 0 20 8 0 0 0 0 0", 10 / 19, 0.0),
        ("5 5 5 5 5 5 5 5 5 5", "5 5 5 5 5 5 5 5 5 5", 0.0, 0.0),
        ("0 0 0 0 0 0 0 0", "10 10 10 10 0 10 10 40", 0.9, 0.0),
    ],
)
def test_time_of_processors(tmp_path: Path, before: str, after: str, cpu: float, iowait: float) -> None:
    """Shares are those between two looks, of our processors only; guests' time is not counted twice."""
    seen = machine(tmp_path, stat(before, before, "0 0 0 0 0"), allowed=range(2))
    write(tmp_path, stat(after, after, "9999 0 0 0 0"))
    look = seen.look()
    assert look.cpu == pytest.approx(cpu)
    assert look.iowait == pytest.approx(iowait)
    assert (seen.look().cpu, seen.look().iowait) == (0.0, 0.0)


def test_processors_that_a_look_tells(tmp_path: Path) -> None:
    """A look tells how many processors this process may use, by affinity and quota."""
    assert machine(tmp_path, allowed=range(5)).look().processors == 5
    limited = machine(tmp_path, V2 | {f"{JOB}/cpu.max": "250000 100000\n"})
    assert limited.look().processors == 3


def test_this_machine() -> None:
    """The real files are read: the machine has processors and memory, and shares are shares."""
    seen = (here := Machine()).look()
    assert 1 <= seen.processors <= len(here.topology()) <= (os.cpu_count() or 1)
    assert 0 < seen.memory_available <= seen.memory_total
    shares = [seen.cpu, seen.iowait, *(one for p in pressures(seen) for one in (p.some, p.full))]
    assert all(0 <= share <= 1 for share in shares)
    assert 1 <= worker_count(here) <= worker_count(here, logical=True) <= len(here.topology())


def pressures(seen: Snapshot) -> tuple[Pressure, ...]:
    """Return all pressures."""
    return seen.cpu_pressure, seen.memory_pressure, seen.io_pressure


# -- pinning ------------------------------------------------------------------------------------------------------------

PINS = """
import json, os, subprocess, sys, threading
from pytest_spip.common.machine import pin
go, seen = threading.Event(), []
thread = threading.Thread(target=lambda: (go.wait(), seen.append(sorted(os.sched_getaffinity(0)))))
thread.start()
worked = pin([int(sys.argv[1])])
go.set()
thread.join()
show = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
child = json.loads(subprocess.check_output(show))
print(json.dumps([worked, sorted(os.sched_getaffinity(0)), seen[0], child]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_pin() -> None:
    """A process that is pinned has all its threads, those it had before too, and its children on its processors."""
    last = max(os.sched_getaffinity(0))
    told = subprocess.check_output([sys.executable, "-c", PINS, str(last)], text=True)
    assert json.loads(told) == [True, [last], [last], [last]]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_pin_in_vain() -> None:
    """A processor that does not exist, or none at all, leaves a process where it is."""
    code = (
        "import os; from pytest_spip.common.machine import pin; before = os.sched_getaffinity(0)\n"
        "print(pin([4095]), pin([]), os.sched_getaffinity(0) == before)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False", "True"]
