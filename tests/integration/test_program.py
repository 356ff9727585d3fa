"""Programs where there are no fork servers: limits, ends, and builds by way of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.errors import HarnessProblem
from pytest_spip.model import DistFile, Limits
from pytest_spip.run import confine
from pytest_spip.run.jobs import CommandJob
from pytest_spip.run.process import Ended
from pytest_spip.run.program import Program
from tests.support.distributions import simple_sdist
from tests.support.machine import eventually
from tests.support.rooms import alive
from tests.support.supply import Supply

SHELL = ("/bin/sh", "-c")


def ended(tmp_path: Path, script: str, limits: Limits | None = None, program: Program | None = None) -> Ended:
    """Run a shell script to its end."""
    job = CommandJob(cwd=str(tmp_path), limits=limits or Limits(), command=(*SHELL, script), variables={"WORD": "said"})
    return (program or Program()).run(job)


def test_end(tmp_path: Path) -> None:
    """A program has the environment and the directory that it is given, and its status and output are told."""
    done = ended(tmp_path, 'echo "$WORD $(env | wc -l)" >&2; pwd; exit 3')
    assert (done.status, done.cut) == (3, "")
    assert done.output.splitlines()[0].startswith("said ")
    assert done.output.splitlines()[1] == str(tmp_path)


@pytest.mark.parametrize(
    ("script", "limits", "cut"),
    [
        pytest.param("while :; do :; done", Limits(timeout=0.5), "timeout", id="busy"),
        pytest.param("exec >/dev/null 2>&1; while :; do :; done", Limits(timeout=0.5), "timeout", id="silent"),
        pytest.param("while :; do echo more; done", Limits(output=1 << 16), "log-limit", id="talkative"),
    ],
)
def test_limits(tmp_path: Path, script: str, limits: Limits, cut: str) -> None:
    """A program that takes too long, or says too much, is killed."""
    done = ended(tmp_path, script, limits)
    assert (done.status, done.cut) == (-9, cut)


def test_file_size(tmp_path: Path) -> None:
    """A program cannot write a file beyond the limit."""
    script = "head -c 2000000 /dev/zero > big; true"
    ended(tmp_path, script, Limits(file_size=1 << 20))
    assert (tmp_path / "big").stat().st_size == 1 << 20


def test_what_is_left_running(tmp_path: Path) -> None:
    """What a program leaves running is killed when it ends."""
    done = ended(tmp_path, "(while :; do :; done) >/dev/null 2>&1 & echo $!")
    assert done.status == 0
    assert eventually(lambda: not alive(int(done.output)))


def test_hang_up(tmp_path: Path) -> None:
    """A program that is hung up on is killed, and has no result."""
    os.mkfifo(tmp_path / "fifo")
    program = Program()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ended, tmp_path, "echo $$ > fifo; while :; do :; done", None, program)
        pid = int((tmp_path / "fifo").read_text())
        program.hang_up()
        with pytest.raises(HarnessProblem, match="the session is ending"):
            running.result(30)
    assert not alive(pid)


def test_build(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fork servers an sdist is built all the same."""
    monkeypatch.setattr(confine, "has_fork_servers", lambda: False)
    source = simple_sdist(supply.root, "demo", "1.0", {"demo.py": ""})
    file = DistFile(source.name, source.as_uri(), "sdist", "1.0")
    assert supply.builder().wheel("demo", file, supply.here()).fresh
