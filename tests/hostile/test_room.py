"""A room that is full: what costs seconds in a real one is done in a small one."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest

from pytest_spip.model import Limits
from pytest_spip.run.jobs import CommandJob
from pytest_spip.run.server import ForkServer, Setup
from tests.support.ways import must_work

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
BYTES = """\
with open(sys.argv[1] + "/bytes", "wb", 0) as stream:
    for _ in range(9):
        stream.write(bytes(1 << 20))
"""
FILES = "for n in range(5000):\n    os.mknod(sys.argv[1] + '/%d' % n)\n"


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", "."])
@pytest.mark.parametrize("code", [BYTES, FILES], ids=["bytes", "files"])
def test_room_is_bounded(tmp_path: Path, code: str, place: str) -> None:
    """Neither bytes nor files go beyond what an environment may hold, wherever they are put."""
    must_work(3)
    for name in ("view", "prefix"):
        (tmp_path / name).mkdir(parents=True)
    python, prefix = os.path.realpath(sys.executable), tmp_path / "prefix"
    setup = Setup(3, str(tmp_path / "view"), ENVIRONMENT, prefix=str(prefix), size=8 << 20)
    command = (python, "-I", "-S", "-B", "-c", f"import os, sys\n{code}", place)
    with contextlib.closing(ForkServer(python, setup)) as server:
        ended = server.run(CommandJob(cwd="/src/work", limits=Limits(), command=command, variables=ENVIRONMENT))
    assert (ended.status, "No space left on device" in ended.output) == (1, True), ended.output
