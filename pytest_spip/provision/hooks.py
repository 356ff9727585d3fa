"""The hooks of a build backend (PEP 517), called in a sandbox; what comes back of it is checked before anybody believes it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyproject_hooks import BackendUnavailable, BuildBackendHookCaller

from pytest_spip.common.trees import remove_tree
from pytest_spip.model import Limits, Outcome, Phase, Reason, Verdict
from pytest_spip.provision.confined import Confined, End
from pytest_spip.provision.sdists import BuildSystem, build_failed, open_plain, read_plain
from pytest_spip.provision.uv_output import Failure, build_error, is_without_room, last_words

__all__ = ["LIMITS", "BuildDirectories", "Hooks"]

LIMITS = Limits(timeout=1800.0, memory=8 << 30, file_size=4 << 30, output=1 << 60, head=64 << 10)
"""Bounds of one hook's program. Compilers may say as much as they like: of that the beginning and the end are kept."""
PASSING = re.compile(
    r"Killed signal terminated|(?:std::)?bad_alloc|[Oo]ut of memory|Cannot allocate memory|MemoryError"
)
"""Words of what failed for want of memory, which others may have had."""
KEEPS = ("LANG", "LC_ALL", "TERM", "TZ", "CC", "CXX", "AR", "LD", "CFLAGS", "CXXFLAGS", "LDFLAGS")
"""What a build may see of the user's environment, beside PATH."""
ANSWER_LIMIT = 1 << 20
HEAD, TAIL = 20, 200
"""Lines of a failed build's output that are kept, of its beginning and of its end."""


class BuildDirectories:
    """The directories of one build. Its programs own what lies in ``tree``, ``out`` and ``control``, but not these."""

    NAMES = ("tree", "out", "control")

    def __init__(self, root: Path) -> None:
        root = root.resolve()
        self.tree, self.out, self.control = (root / name for name in self.NAMES)
        self.source, self.home, self.tmp = (self.tree / name for name in ("source", "home", "tmp"))
        for directory in (self.tree, self.out, self.control, self.home, self.tmp):
            directory.mkdir(parents=True, exist_ok=True)

    def own(self, environment: Path) -> Path:
        """Return a copy of an environment, for a build that nothing keeps from changing it."""
        place = self.tree.parent / f"environment-{len(list(self.tree.parent.iterdir()))}"
        shutil.copytree(environment, place, symlinks=True)
        return place

    @property
    def writable(self) -> tuple[str, ...]:
        """What a sandbox must let its programs write."""
        return str(self.tree), str(self.out), str(self.control)


class Hooks:
    """The hooks of one source tree. ``python`` is the program of the environment with its build requirements.

    Each raises ``Failure`` when the backend fails, and ``OSError`` when the disk is full.
    """

    def __init__(
        self,
        source: Path,
        system: BuildSystem,
        directories: BuildDirectories,
        python: str,
        run: Confined,
        *,
        environ: Mapping[str, str],
        limits: Limits,
    ) -> None:
        self._directories = directories
        self._run = run
        self._limits = limits
        self._environment = _environment(environ, directories, Path(python).parent)
        self._output = ""
        try:
            self._caller = BuildBackendHookCaller(
                str(source), system.backend, system.path or None, self._called, python
            )
        except ValueError as error:
            raise build_failed(f"pyproject.toml: backend-path: {error}") from error

    def requires(self) -> tuple[str, ...]:
        """Return what the backend requires beyond the table (``get_requires_for_build_wheel``)."""
        with self._explained():
            reply = self._caller.get_requires_for_build_wheel()
        return _texts(reply, self._output)

    def wheel(self, target: Path) -> Path:
        """Build the wheel, copy it into a directory and return its path."""
        with self._explained():
            name: object = self._caller.build_wheel(str(self._directories.out))
        if not isinstance(name, str) or os.path.basename(name) != name or not name.endswith(".whl"):
            raise build_failed(f"build_wheel returns {name!r}, which is no wheel's name", self._output)
        try:
            made = open_plain(self._directories.out / name)
        except ValueError as error:
            raise build_failed(f"build_wheel returns {name!r}, which it has not made", self._output) from error
        with made, (target / name).open("xb") as copy:
            shutil.copyfileobj(made, copy)
        return target / name

    def _called(
        self, cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
    ) -> None:
        """Run the library's script for a hook: ``PYTHON SCRIPT HOOK DIRECTORY``, question and answer in the directory."""
        python, script, hook, directory = cmd
        control = self._directories.control
        for left in control.iterdir():  # an earlier hook may have laid a link where we write
            remove_tree(left)
        for path in (Path(script), Path(directory, "input.json")):
            with (control / path.name).open("xb") as copy:
                copy.write(path.read_bytes())
        environment = self._environment | dict(extra_environ or {})
        asked = [python, str(control / Path(script).name), hook, str(control)]
        ended = self._run(asked, environment=environment, cwd=str(cwd), limits=self._limits)
        self._output = ended.output
        if ended.cut or ended.status:
            raise _failure(ended, hook, self._limits)
        Path(directory, "output.json").write_text(json.dumps(self._answer(control / "output.json")), "utf-8")

    def _answer(self, path: Path) -> dict[str, Any]:
        """Return what the script wrote; a backend's warnings go nowhere."""
        try:
            reply = json.loads(read_plain(path, ANSWER_LIMIT))
            words = {key: _escaped(str(reply.get(key) or "")) for key in ("traceback", "backend_error")}
            return {"return_val": reply.get("return_val"), "no_backend": bool(reply.get("no_backend")), **words}
        except (ValueError, AttributeError, RecursionError) as error:
            raise build_failed("the backend ended without an answer", self._output) from error

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BackendUnavailable as error:
            raise build_failed(build_error(str(error)), last_words(f"{self._output}\n{error}")) from error


def _escaped(text: str) -> str:
    """Return the text without what could move a cursor, or not be encoded."""
    return "\n".join(line.encode("unicode_escape").decode("ascii") for line in text.splitlines())


def _texts(reply: object, output: str) -> tuple[str, ...]:
    if not isinstance(reply, list) or not all(isinstance(one, str) for one in reply):
        raise build_failed("get_requires_for_build_wheel does not return a list of strings", output)
    return tuple(reply)


def _environment(environ: Mapping[str, str], directories: BuildDirectories, programs: Path) -> dict[str, str]:
    kept = {name: environ[name] for name in KEEPS if name in environ}
    return kept | {
        "PATH": f"{programs}:{environ.get('PATH') or os.defpath}",
        "HOME": str(directories.home),
        "TMPDIR": str(directories.tmp),
        "VIRTUAL_ENV": str(programs.parent),
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def _failure(ended: End, hook: str, limits: Limits) -> Exception:
    """Return what the end of a hook's program says: of the machine where it has no room, of the sdist elsewhere."""
    output = _ends(ended.output)
    lasting = not (PASSING.search(ended.output) or ended.status == -signal.SIGKILL)
    if ended.cut == Reason.TIMEOUT:
        detail = f"the build did not end within {limits.timeout:g} s (--spip-build-timeout)"
        return Failure(Verdict(Outcome.KILLED, Phase.BUILD, Reason.TIMEOUT, detail), output, lasting=False)
    if ended.cut:
        option = " (--spip-build-memory)" if ended.cut == Reason.OUT_OF_MEMORY else ""
        detail = f"the build was killed: {ended.evidence or ended.cut}{option}"
        return Failure(Verdict(Outcome.KILLED, Phase.BUILD, Reason(ended.cut), detail), output, lasting=False)
    if is_without_room(ended.output):
        return OSError(errno.ENOSPC, build_error(ended.output))
    if ended.status < 0:
        return build_failed(f"{hook} ended with signal {_signal_name(-ended.status)}", output, lasting=lasting)
    detail = build_error(ended.output, f"{hook} ended with status {ended.status}")
    if PASSING.search(detail):
        detail += f" (the limit is {limits.memory >> 20} MiB, --spip-build-memory)"
    return build_failed(detail, output, lasting=lasting)


def _ends(output: str) -> str:
    """Return the first and the last lines of an output."""
    lines = output.rstrip().splitlines()
    if len(lines) <= HEAD + TAIL:
        return "\n".join(lines)
    return "\n".join([*lines[:HEAD], f"[{len(lines) - HEAD - TAIL} lines left out]", *lines[-TAIL:]])


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return str(number)
