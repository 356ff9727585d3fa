"""What the kernel says of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_spip.common.machine import Machine
from pytest_spip.record.host import Host


def test_cpu_times_add_up() -> None:
    """Busy and waiting time are parts of the whole, which is what psutil counts."""
    busy, iowait, total = Machine().times()
    assert 0 <= iowait <= total
    assert 0 < busy <= total
    assert len(Machine(allowed=[0]).topology()) == 1


def test_only_our_processors_count() -> None:
    """A process that may use one processor and keeps it busy says so, whatever the others do."""
    code = """
import os, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from pytest_spip.common.machine import Machine
machine = Machine()
until = time.process_time() + 0.5
while time.process_time() < until:
    pass
seen = machine.look()
print(seen.processors, seen.cpu)
"""
    processors, cpu = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert (processors, float(cpu) > 0.9) == ("1", True), cpu


def test_sample(tmp_path: Path) -> None:
    """A sample has shares of processors' time, and bytes of memory and of the room's file system."""
    host = Host(tmp_path)
    sum(range(1_000_000))
    sample = host.sample()
    room = os.statvfs(tmp_path)
    assert 0 <= sample.iowait <= 1
    assert 0 <= sample.cpu <= 1.01
    assert 0 < sample.available <= psutil.virtual_memory().total
    assert 0 < sample.room_used <= room.f_blocks * room.f_frsize
    told = [sample.cpu_pressure, sample.io_pressure, sample.memory_pressure]
    assert all(share is None or 0 <= share <= 1 for share in told)


PSI = "some avg10={} avg60=0.00 avg300=0.00 total=123\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=45\n"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (PSI.format("0.00"), 0.0),
        (PSI.format("12.50"), 0.125),
        (PSI.format("100.00"), 1.0),
        ("some avg10=1.00", 0.01),
        ("full avg10=1.00 total=1\n", None),
        (PSI.format("often"), None),
        ("", None),
        ("some", None),
        ("s\u00f6me avg10=1.00", None),
    ],
)
def test_pressure(tmp_path: Path, text: str, share: float | None) -> None:
    """Pressure is the share of ten seconds in which somebody waited; what cannot be read is not known."""
    (tmp_path / "proc" / "pressure").mkdir(parents=True)
    (tmp_path / "proc" / "pressure" / "memory").write_text(text, "utf-8")
    seen = Machine(tmp_path).look().memory_pressure
    assert (seen.some if seen.counted else None) == share


def test_kernel_without_pressure(tmp_path: Path) -> None:
    """Where the kernel counts no pressure nothing is known."""
    assert not Machine(tmp_path).look().cpu_pressure.counted
