"""The processes below ours: what runs there, and its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from pytest_spip.common.waits import ENDING

__all__ = ["kill_descendants", "run_program", "running_commands", "start_in_background"]


def run_program(
    command: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end in a session of its own; what takes longer than ``timeout`` seconds is killed, session and all.

    Raises ``OSError`` when it cannot be started, ``subprocess.TimeoutExpired`` when it takes longer.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment, cwd=cwd, start_new_session=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number still means this group
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def start_in_background(command: Sequence[str]) -> None:
    """Start a command that outlives us, at low priority, with nothing to read from or write to; nobody waits for it.

    Raises ``OSError`` and ``subprocess.SubprocessError`` when it cannot be started.
    """
    # The shell leaves at once and the command outlives it: a child that we forgot while it runs would be warned of at our end.
    shell, null = ["sh", "-c", 'nice -n 19 "$@" &', "sh", *command], subprocess.DEVNULL
    subprocess.run(
        shell, check=True, timeout=ENDING, stdin=null, stdout=null, stderr=null, cwd="/", start_new_session=True
    )


def running_commands() -> list[str]:
    """Return the commands of the processes below ours."""
    commands = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            commands.append(shlex.join(process.cmdline()))
    return [command for command in commands if command]


def kill_descendants() -> None:
    """Kill all that this process started, and what that started, until nobody is left to start more."""
    for _ in range(10):
        process_tree = psutil.Process().children(recursive=True)
        for process in process_tree:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not psutil.wait_procs(process_tree, timeout=0.2)[1] and not psutil.Process().children():
            return
