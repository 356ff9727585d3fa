"""A machine in small: home, projects, caches, a place for worktrees and an index below one directory; runs pytest there."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.index import LocalIndex
from tests.support.schema import problems

__all__ = ["HERE", "LABEL", "NONE", "VERSION", "Cell", "Done", "Machine", "eventually"]

HERE = sys.executable
VERSION = "{}.{}".format(*sys.version_info[:2])
LABEL = "py{}{}".format(*sys.version_info[:2])

PYTEST = (sys.executable, "-m", "pytest")
NONE: Mapping[str, str] = MappingProxyType({})
INHERITED: tuple[str, ...] = ("PATH", "PYENV_ROOT", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
INHERITED += ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

Cell = tuple[str, str, str | None]
"""Outcome, phase and reason of a combination."""


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended, the project that it ran in, and the JSON report that it wrote there, if any."""

    status: int
    stdout: str
    stderr: str
    project: Path
    written: str = ""

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report, which fits the published schema."""
        assert self.written, f"no report was written:\n{self.stdout}{self.stderr}"
        report: dict[str, Any] = json.loads(self.written)
        assert problems(report) == []
        return report

    @property
    def combinations(self) -> dict[str, dict[str, Any]]:
        """The report's combinations by id, in its order."""
        return {one["id"]: one for one in self.report["combinations"]}

    @property
    def cells(self) -> dict[str, Cell]:
        """The report's verdicts by id, in its order."""
        return {name: (one["outcome"], one["phase"], one["reason"]) for name, one in self.combinations.items()}

    @property
    def outcomes(self) -> dict[str, str]:
        """The report's outcomes by id, in its order."""
        return {name: outcome for name, (outcome, _, _) in self.cells.items()}


class Machine:
    """Everything lies below ``root``, so that what is left behind can be found; ``files`` is what the index serves."""

    def __init__(self, root: Path, files: Path, index: LocalIndex) -> None:
        self.root = root
        self.files = files
        self.index = index
        self.cache = root / "cache"
        self.ram = root / "ram"
        self._started: list[subprocess.Popen[str]] = []
        for path in (self.ram, root / "home", root / "projects", root / "tmp"):
            path.mkdir(parents=True)

    def learn(self, other: Path) -> None:
        """Take over what another machine, below a root, found out about interpreters, and the base environments it made."""
        for name in ("cache/interpreters", "cache/base.git", "cache/pycache", "uv"):
            shutil.copytree(other / name, self.root / name, symlinks=True)

    def project(self, name: str = "project", files: Mapping[str, str] = NONE) -> Path:
        """Make a project, or add files to it, and return its directory. An empty ``pytest.ini`` roots it."""
        path = self.root / "projects" / name
        path.mkdir(exist_ok=True)
        if not files.keys() & {"tox.ini", "pyproject.toml"}:
            (path / "pytest.ini").write_text("[pytest]\n", "utf-8")
        for file, text in files.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text(text, "utf-8")
        return path

    def environment(self, env: Mapping[str, str] = NONE) -> dict[str, str]:
        """Return the environment of a command: of the person who runs the tests it has little more than PATH."""
        return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "NO_PROXY": "127.0.0.1",
            "UV_CACHE_DIR": str(self.root / "uv"),
            "UV_DEFAULT_INDEX": self.index.url,
            "UV_NO_CONFIG": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "PIP_CONFIG_FILE": os.devnull,
            "PYTEST_ADDOPTS": "-p no:anyio -p no:hypothesispytest",  # not ours, and slow to start
            **env,
        }

    def options(self, python: str = HERE) -> list[str]:
        """Return the options that keep a command on this machine; ``python`` may be empty."""
        named = [f"--spip-python={python}"] if python else []
        return [f"--spip-cache={self.cache}", f"--spip-ram={self.ram}", "--spip-report=json:report.json", *named]

    def start(
        self,
        *arguments: str,
        project: str = "project",
        python: str = HERE,
        bare: bool = False,
        env: Mapping[str, str] = NONE,
        program: Sequence[str] = PYTEST,
    ) -> subprocess.Popen[str]:
        """Start a command in a session of its own; ``bare`` gives it no option but those named."""
        options = [] if bare else self.options(python)
        cwd = self.project(project) if not (self.root / "projects" / project).exists() else self.project_path(project)
        (cwd / "report.json").unlink(missing_ok=True)
        process = subprocess.Popen(
            [*program, *options, *arguments],
            cwd=cwd,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """Kill what a failed test left running."""
        for process in self._started:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def project_path(self, name: str) -> Path:
        """Return where a project is."""
        return self.root / "projects" / name

    def finish(self, process: subprocess.Popen[str], project: str = "project", *, timeout: float = 60) -> Done:
        """Wait for a command that was started; one that does not end in time is killed, and its status is negative."""
        with process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                stdout, stderr = process.communicate()
        path = self.project_path(project)
        report = path / "report.json"
        return Done(process.returncode, stdout, stderr, path, report.read_text("utf-8") if report.exists() else "")

    def run(self, *arguments: str, project: str = "project", **how: Any) -> Done:
        """Run a command to its end; ``how`` is what :meth:`start` takes."""
        return self.finish(self.start(*arguments, project=project, **how), project)

    def run_all(self, commands: Mapping[str, Mapping[str, Any]]) -> dict[str, Done]:
        """Run several commands, two at a time, each in a project of its name; a value is what :meth:`run` takes."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            begun = {
                name: pool.submit(self.run, *how.get("arguments", ()), project=name, **_without(how, "arguments"))
                for name, how in commands.items()
            }
            return {name: future.result() for name, future in begun.items()}

    def worktrees(self) -> list[Path]:
        """Return what lies in the place for worktrees."""
        return list(self.ram.glob("pytest-spip-*/*"))

    def processes(self) -> dict[int, str]:
        """Return what runs on this machine: processes whose command line, environment or directory names it."""
        return dict(_processes_below(str(self.root)))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until a condition holds, and tell whether it did within the time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def _processes_below(root: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            told = command + (entry / "environ").read_text("utf-8", "replace") + os.readlink(entry / "cwd")
        except OSError:
            continue  # it ended while we looked, or is a zombie
        if root in told and command and int(entry.name) != os.getpid():
            yield int(entry.name), command.strip()
