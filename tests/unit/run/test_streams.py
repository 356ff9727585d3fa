"""Standard streams that are passed on to a program."""

from __future__ import annotations

import os
import subprocess
import sys
import time

SIZE = 1_000_000
PROGRAM = f"""
import os, threading
from pytest_spip.run.streams import Relay

ended, ending = os.pipe()

def program(stdout):
    rest = b"x" * {SIZE}
    while rest:
        rest = rest[os.write(stdout, rest):]
    os.close(stdout)
    os.close(ending)

with Relay() as relay:
    threading.Thread(target=program, args=[os.dup(relay.theirs[1])]).start()
    relay.copy(ended)
"""


def test_output_that_does_not_block() -> None:
    """All output arrives where the standard output is a pipe that somebody made non-blocking, and that is read late."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.DEVNULL, stdout=theirs) as process:
        os.close(theirs)
        time.sleep(0.2)  # until the pipe is full; any other time will do
        with open(ours, "rb") as stream:
            received = len(stream.read())
    assert (process.returncode, received) == (0, SIZE)
