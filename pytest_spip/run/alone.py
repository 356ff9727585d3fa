"""The cold runner of machines without fork servers: one program of ours per combination, limits and no sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.model import Combo, Composed, Environment, Limits, Result, Sandbox
from pytest_spip.run import process
from pytest_spip.run.check_runners import CheckRunner, child_environment, tried
from pytest_spip.run.process import Ended
from pytest_spip.run.program import BOUND
from pytest_spip.run.runner import NONE
from pytest_spip.run.server import NONCE, RESULT

__all__ = ["AloneRunner", "AloneSession"]

ALONE = str(Path(__file__).parent / "child" / "alone.py")


class AloneRunner:
    """Runs a check's program in a new process, which the environment's interpreter bounds first."""

    def __init__(self, check_runner: CheckRunner, sandbox: Sandbox) -> None:
        self._check_runner = check_runner
        self._sandbox = sandbox

    def warms(self, combo: Combo, composed: Composed) -> bool:
        """Nothing is warm here."""
        return False

    def run(
        self,
        combo: Combo,
        environment: Environment,
        composed: Composed,
        limits: Limits,
        *,
        warm: bool = False,
        variables: Mapping[str, str] = NONE,
    ) -> Result:
        """Run the check. Raises ``OSError`` when the interpreter cannot be started."""
        program = self._check_runner.program(combo, environment, composed)
        session = AloneSession(composed, self._sandbox)

        def attempt() -> Ended:
            return session.run(program, limits, variables)

        return dataclasses.replace(tried(self._check_runner, combo, environment, limits, attempt), runner="cold")

    def showing(self, files: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """Nothing is hidden here."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def session(self, combo: Combo, composed: Composed, *, network: bool) -> Iterator[AloneSession]:
        """Open an environment, which lies on the disk; nothing keeps its programs from the network here."""
        yield AloneSession(composed, self._sandbox)

    def imported(self, composed: Composed) -> tuple[str, ...]:
        """Nothing is traced here."""
        return ()

    def bytecode(self, combo: Combo, composed: Composed, limits: Limits, sources: Sequence[str]) -> Mapping[str, bytes]:
        """Nothing is compiled beforehand here."""
        return {}

    def rewritten(
        self, combo: Combo, environment: Environment, composed: Composed, limits: Limits
    ) -> Mapping[str, bytes]:
        """Nothing is compiled beforehand here."""
        return {}

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""


class AloneSession:
    """An environment on the disk, and its programs."""

    def __init__(self, composed: Composed, sandbox: Sandbox) -> None:
        self._composed = composed
        self._environment = child_environment(composed, sandbox.passed)

    def extend(self, composed: Composed) -> None:
        """What was added lies there already."""
        self._composed = composed

    def attach(self, command: Sequence[str], limits: Limits, variables: Mapping[str, str] = NONE) -> Ended:
        """Run a program with the standard streams of this process. Raises ``OSError`` when it cannot be started."""
        start, environment = time.monotonic(), {**self._environment, **variables}
        bounds = sys.executable, "-I", "-S", "-c", BOUND, str(limits.memory), str(limits.file_size)
        # In our process group, that a terminal's signals reach it; so it has no lifeline, which would take us with it.
        done = subprocess.run([*bounds, *command], env=environment, cwd=environment["PWD"], check=False)
        return Ended(done.returncode, "", "", b"", time.monotonic() - start, 0.0, 0)

    def run(
        self,
        command: Sequence[str],
        limits: Limits,
        variables: Mapping[str, str] = NONE,
        *,
        stdin: str = "",
        apart: bool = False,
    ) -> Ended:
        """Run a program. Raises ``OSError`` when the interpreter cannot be started."""
        words = {RESULT: process.RESULT, NONCE: "-1"}
        program = [words.get(word, word) for word in command]
        bounds = str(limits.memory), str(limits.file_size)
        return process.run(
            [self._composed.python, "-I", "-B", "-S", ALONE, process.LIFELINE, *bounds, *program],
            environment={**self._environment, **variables},
            timeout=limits.timeout,
            output_limit=limits.output,
            stdin=stdin,
            apart=apart,
        )
