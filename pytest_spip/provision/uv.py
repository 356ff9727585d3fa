"""uv, the program: resolves, unpacks, installs interpreters, packs the user's own project. The only module that knows its flags."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from pytest_spip.common.waits import ENDING
from pytest_spip.errors import HarnessProblem, NetworkProblem
from pytest_spip.model import Indexes, Interpreter, Outcome, Phase, Reason, Verdict
from pytest_spip.provision.turns import FirstAlone
from pytest_spip.provision.uv_output import (
    Attempt,
    Failure,
    build_error,
    causes,
    distrusts,
    last_words,
    machine_problem,
    parted,
    passed_over_in,
    resolution_failure,
)
from pytest_spip.provision.uv_program import find_uv, places_of

__all__ = ["Uv"]

_KEEPS = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
_TRANSPORT_KEEPS = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "NETRC"),
)
# Index and TLS settings reach uv as the plan has read them only, so that both always ask the same places and trust the same.
_UV_KEEPS = (
    *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_KEYRING_PROVIDER", "UV_OFFLINE", "UV_CONCURRENT_DOWNLOADS"),
    *("UV_REQUEST_TIMEOUT", "UV_PYTHON_INSTALL_DIR", "UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_MIRROR"),
)

_LOG = "uv_resolver::candidate_selector=trace,uv_resolver::resolver=debug"
"""What uv is to tell of its way to a resolution: which versions it looked at."""


class Uv:
    """uv with this run's index settings. Safe to use from many threads; :meth:`stop` ends what still runs."""

    def __init__(
        self, indexes: Indexes, exclude_newer: str = "", *, binary: str = "", environ: Mapping[str, str] = os.environ
    ) -> None:
        self._binary = binary or find_uv()
        self._indexes = indexes
        self._exclude_newer = exclude_newer
        self._environ = environ
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._interpreters = FirstAlone()

    @property
    def places(self) -> list[str]:
        """The indexes and find-links that uv looks at, without credentials, and the user's settings of resolutions, if any."""
        return places_of(self._indexes)

    def resolve(
        self,
        requirements: Sequence[str],
        interpreter: Interpreter,
        lock: Path,
        *,
        wheels: Sequence[Path] = (),
        alone: Sequence[Path] = (),
        resolution: str = "",
        for_build: bool = False,
        timeout: float = 120,
    ) -> Attempt:
        """Write the ``pylock.toml`` of requirements for an interpreter to ``lock``, out of wheels alone.

        ``wheels`` are wheels built here: they are offered beside those of the indexes. So are those that are ``alone``, but for
        their projects no index counts: it may list the same version. ``resolution`` says which versions are preferred:
        ``highest``, which is the default, ``lowest-direct`` or ``lowest``. ``for_build`` says that these are build requirements,
        for which the user's constraints are others.
        """
        links = [word for wheel in wheels for word in ("--find-links", str(wheel.parent))]
        arguments = ["pip", "compile", "-", "--format", "pylock.toml", "--python", interpreter.path, "--no-header"]
        arguments += ["--quiet", "--no-build", "--no-python-downloads", *self._options(), *links]
        arguments += ["--resolution", resolution or "highest", "--output-file", str(lock)]
        asked = "\n".join(requirements)
        settings = self._resolution_lines(alone, for_build=for_build)
        first = [path.parent.as_uri() for path in alone]
        run = functools.partial(
            self._run,
            environment=self._logging(),
            timeout=timeout,
            stdin=asked,
            cwd=lock.parent,
            first=first,
            settings=settings,
        )
        # Many that begin with an empty cache would each run the interpreter to ask what it is, and fetch the same listing.
        with self._interpreters.working(interpreter.path):
            status, output = run(arguments)
        name = re.split(r"[\[=<>!~; @]", requirements[0], maxsplit=1)[0] if requirements else ""
        if status and re.search(rf"no version of {re.escape(name)}\b", output) and not self._indexes.offline:
            # The plan has just seen that version: what uv kept of the listing is older.
            status, output = run([*arguments, "--refresh-package", name])
        log, said = parted(output)
        problem = resolution_failure(said, status, name) if status != 0 else None
        if isinstance(problem, NetworkProblem) and distrusts(said):
            problem = NetworkProblem(f"{problem}; {self._indexes.trust.advice}")
        return Attempt(passed_over_in(log), problem)

    def make_environment(self, interpreter: Interpreter, lock: Path | None, target: Path) -> None:
        """Make a virtual environment that holds what a lock names. Raises like :meth:`resolve`.

        No program of it is run: what the wheels bring could be run with it. Files are copies, for builds may change theirs.
        """
        venv = ["venv", "--quiet", "--relocatable", "--python", interpreter.path, str(target)]
        python = str(target / "bin" / "python")
        sync = [
            "pip",
            "sync",
            "--quiet",
            "--no-build",
            "--link-mode=copy",
            "--python",
            python,
            *self._options(),
            str(lock),
        ]
        for arguments in (venv, *([sync] if lock else [])):
            status, output = self._run(
                [*arguments, "--no-python-downloads"], self._environment(), 300, cwd=target.parent
            )
            if status != 0:
                words = " ".join(output.split())
                raise machine_problem(output, words, status) or HarnessProblem(
                    f"no build environment for {interpreter.label}: {causes(output)}"
                )

    def build_sdist(self, project: Path, interpreter: Interpreter, target: Path, *, timeout: float = 600) -> Path:
        """Build a project's sdist into a directory, with the user's variables, and return its path.

        Raises ``Failure`` where it does not build, and like :meth:`resolve` for reasons of the network or the machine.
        """
        arguments = ["build", "--sdist", "--python", interpreter.path, "--no-python-downloads"]
        arguments += [*self._options(), "--out-dir", str(target), str(project)]
        theirs = {name: value for name, value in self._environ.items() if not name.startswith(("UV_", "PIP_"))}
        limits = self._indexes.settings.build_constraints
        settings = [f"build-constraint-dependencies = {_toml(list(limits))}"] if limits else []
        status, output = self._run(arguments, theirs | self._environment(), timeout, settings=settings)
        found = [path for path in sorted(target.iterdir()) if path.name.endswith((".tar.gz", ".zip"))]
        if status == 0 and len(found) == 1:
            return found[0]
        if status and (problem := machine_problem(output, " ".join(output.split()), status)):
            raise problem
        detail = f"no end within {timeout:g} s" if status is None else build_error(output)
        raise Failure(Verdict(Outcome.FAILED, Phase.BUILD, Reason.BUILD_FAILED, detail), last_words(output))

    def install_python(self, version: str, *, timeout: float = 600) -> bool:
        """Have uv download an interpreter; tell whether it did."""
        if self._indexes.offline or self._environ.get("UV_PYTHON_DOWNLOADS") == "never":
            return False
        status, _ = self._run(["python", "install", "--no-bin", version], self._environment(), timeout)
        return status == 0

    def stop(self) -> None:
        """Kill everything that still runs, builds included; what starts later is refused."""
        self._stopped = True
        with self._lock:
            running = list(self._running)
        for process in running:
            _kill_tree(process.pid)

    def _options(self) -> list[str]:
        options = ["--exclude-newer", self._exclude_newer] if self._exclude_newer else []
        return [*options, "--offline"] if self._indexes.offline else options

    def _resolution_lines(self, alone: Sequence[Path], *, for_build: bool) -> list[str]:
        """Return the lines of uv's configuration for the user's settings.

        What is built here is the only version of its project, wherever else that is listed: a constraint says so, for settings may
        have uv look at all indexes.
        """
        settings = self._indexes.settings
        only = [f"{name}=={version}" for name, version in map(_name_and_version, alone)]
        constraints = settings.build_constraints if for_build else (*settings.constraints, *only)
        values: dict[str, object] = {
            "constraint-dependencies": list(constraints),
            "override-dependencies": [] if for_build else list(settings.overrides),
            "exclude-dependencies": [] if for_build else list(settings.excludes),
            "prerelease": settings.prerelease,
            "index-strategy": settings.index_strategy,
        }
        lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value]
        dates = [f"{_toml(name)} = {_toml(date or False)}" for name, date in settings.exclude_newer_package]
        return [*lines, f"exclude-newer-package = {{ {', '.join(dates)} }}"] if dates else lines

    @contextlib.contextmanager
    def _settings(self, first: Sequence[str], settings: Sequence[str]) -> Iterator[str]:
        """Yield a file that names the indexes: every user of the machine can read a command line, and credentials in it.

        ``first`` are directories of wheels that go before, ``settings`` are further lines.
        """
        *ahead, last = self._indexes.urls or ("",)
        lines = [*settings, f"find-links = {_toml(list(self._indexes.find_links))}", f"no-index = {_toml(not last)}"]
        lines += [f'[[index]]\nurl = {_toml(url)}\nformat = "flat"' for url in first]
        lines += [self._index_lines(url) for url in ahead]
        lines += [f"{self._index_lines(last)}\ndefault = true"] if last else []
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="spip-", suffix=".toml") as file:
            file.write("\n".join(lines))
            file.flush()
            yield file.name

    def _index_lines(self, url: str) -> str:
        options = self._indexes.options_of(url)
        statuses, authenticate = list(options.ignored_statuses), options.authenticate
        lines = [f"ignore-error-codes = {_toml(statuses)}"] if statuses else []
        lines += [f"authenticate = {_toml(authenticate)}"] if authenticate else []
        return "\n".join(["[[index]]", f"url = {_toml(url)}", *lines])

    def _logging(self) -> dict[str, str]:
        return self._environment() | {"RUST_LOG": _LOG}

    def _environment(self) -> dict[str, str]:
        wanted = (*_KEEPS, *_TRANSPORT_KEEPS, *_UV_KEEPS)
        kept = {name: self._environ[name] for name in wanted if name in self._environ}
        ours = {"UV_CACHE_DIR": str(uv_cache(self._environ)), "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
        return kept | self._indexes.trust.variables | ours

    def _run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        timeout: float,
        *,
        stdin: str = "",
        cwd: Path | None = None,
        first: Sequence[str] = (),
        settings: Sequence[str] = (),
    ) -> tuple[int | None, str]:
        """Return exit status, None after the time limit, and the output.

        uv stays in our process group: who kills the group kills the builds too.
        """
        if self._stopped:
            raise HarnessProblem("the session is ending")
        with (
            self._settings(first, settings) as file,
            self._start(["--config-file", file, *arguments], environment, cwd) as process,
        ):
            try:
                output, _ = process.communicate(stdin.encode(), timeout=timeout)
            except subprocess.TimeoutExpired:
                _kill_tree(process.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):  # somebody lives on who has its output
                    output, _ = process.communicate(timeout=ENDING)
                    return None, output.decode("utf-8", "replace")
                return None, ""
            finally:
                with self._lock:
                    self._running.discard(process)
        if self._stopped:
            raise HarnessProblem("the session is ending")
        return process.returncode, output.decode("utf-8", "replace")

    def _start(
        self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path | None
    ) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                [self._binary, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
            )
        except OSError as error:
            raise HarnessProblem(f"cannot start {self._binary}: {error.strerror}") from error
        with self._lock:
            self._running.add(process)
        if self._stopped:  # while it started, and stop() did not see it
            _kill_tree(process.pid)
        return process


def _name_and_version(wheel: Path) -> tuple[str, str]:
    name, version, *_ = wheel.name.split("-")
    return name, version


def uv_cache(environ: Mapping[str, str]) -> Path:
    """Return uv's own cache directory, which it would otherwise look for under the HOME that builds do not see."""
    if named := environ.get("UV_CACHE_DIR"):
        return Path(named).absolute()
    home = Path(environ.get("HOME") or Path.home())
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "uv"


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        process_tree = [root, *root.children(recursive=True)]
        for process in process_tree:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _toml(value: object) -> str:
    """Texts, lists of texts and truth values are written in TOML as in JSON."""
    return json.dumps(value, ensure_ascii=False)
