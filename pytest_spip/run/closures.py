"""What the import of a standard module makes visible, found once per interpreter and kept in the cache."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from pytest_spip.common.cache import Cache
from pytest_spip.common.waits import ENDING
from pytest_spip.errors import HarnessProblem, SpipError
from pytest_spip.model import Interpreter, digest

__all__ = ["ClosureFinder", "closures_path", "find_closures"]

SCRIPT = Path(__file__).parent / "child" / "closures.py"
# What packages import; each brings its own closure along.
_WORDS = (
    "abc argparse array ast asyncio base64 binascii bisect bz2 calendar cmath cmd codecs collections.abc colorsys "
    "concurrent.futures configparser contextlib contextvars copy csv ctypes ctypes.util dataclasses datetime decimal "
    "difflib email.message email.utils enum errno fcntl fnmatch fractions ftplib functools getpass gettext glob grp gzip "
    "hashlib heapq hmac html html.parser http.client http.cookiejar http.cookies importlib importlib.abc importlib.metadata "
    "importlib.resources importlib.util inspect io ipaddress itertools json keyword linecache locale logging "
    "logging.config logging.handlers lzma math mimetypes mmap multiprocessing numbers operator optparse pathlib pickle "
    "pkgutil platform pprint pwd pydoc queue random re reprlib secrets select selectors shlex shutil signal site socket "
    "sqlite3 ssl stat statistics string struct subprocess sysconfig tarfile tempfile textwrap threading time timeit token "
    "tokenize traceback types typing unicodedata unittest unittest.mock urllib.parse urllib.request uuid warnings weakref "
    "xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo"
)
FINDING = 300.0
"""Seconds that an interpreter has to tell its closures."""
KNOWN = tuple(_WORDS.split())


def closures_path(interpreter: Interpreter, cache: Cache) -> Path:
    """Return where an interpreter's closures are, or will be."""
    key = digest(interpreter.id, interpreter.path, KNOWN, SCRIPT.read_text("utf-8"))
    return cache.interpreters / f"closures-{key[:32]}.json"


class ClosureFinder:
    """Finds what is missing, one interpreter after another, in a thread of its own, which :meth:`close` waits for, or ends.

    While combinations run, more of them at a time would take the processors that these need.
    """

    def __init__(self, interpreters: Sequence[Interpreter], cache: Cache) -> None:
        self._waiting = deque(interpreters)
        self._count = len(interpreters)
        self._cache = cache
        self._starting = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        self._threads: list[threading.Thread] = []
        self._add_thread()

    def close(self, *, now: bool = False) -> None:
        """Wait until all is found, on all processors; ``now`` gives up what is not, for another run to find."""
        with self._starting:
            self._ended = now
            if now:
                for process in self._running:
                    process.kill()
        for _ in range(0 if now else min(len(self._waiting), (os.cpu_count() or 1) - 1)):
            self._add_thread()
        until = time.monotonic() + FINDING * self._count + ENDING
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._find, name="closures", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _find(self) -> None:
        while True:
            try:
                interpreter = self._waiting.popleft()
            except IndexError:
                return
            with contextlib.suppress(SpipError, OSError, subprocess.TimeoutExpired):
                find_closures(interpreter, self._cache, self._start)

    @contextlib.contextmanager
    def _start(self, command: Sequence[str], stream: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
        with self._starting:
            if self._ended:
                raise HarnessProblem("the session is ending")
            process = _start(command, stream)
            self._running.add(process)
        with process:
            try:
                yield process
            finally:
                with self._starting:
                    self._running.discard(process)


def _start(command: Sequence[str], stream: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.PIPE, env={}, cwd="/")


def find_closures(
    interpreter: Interpreter,
    cache: Cache,
    start: Callable[[Sequence[str], BinaryIO], AbstractContextManager[subprocess.Popen[bytes]]] = _start,
) -> None:
    """See that an interpreter's closures are known; takes seconds the first time. Raises ``HarnessProblem``."""

    def ask(staging: Path) -> None:
        command = [interpreter.path, "-I", "-S", "-B", str(SCRIPT), *KNOWN]
        with staging.open("wb") as stream, start(command, stream) as process:
            try:
                _, said = process.communicate(timeout=FINDING)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise HarnessProblem(f"{interpreter.label}: {said.decode('utf-8', 'replace').strip()[-200:]}")

    cache.file(closures_path(interpreter, cache), ask)
