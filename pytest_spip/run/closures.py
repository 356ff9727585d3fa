"""What the import of a standard module makes visible, found once per interpreter and kept in the cache."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_spip.disk import Cache
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter, digest

__all__ = ["closures_path", "find_closures"]

SCRIPT = Path(__file__).parent / "child" / "closures.py"
# What packages import most; each brings its own closure along.
_WORDS = (
    "abc argparse ast base64 bisect calendar codecs collections.abc configparser contextlib copy "
    "csv ctypes dataclasses datetime decimal email.message enum errno fnmatch fractions functools "
    "getpass gettext glob hashlib heapq hmac html http.client importlib importlib.metadata importlib.resources "
    "importlib.util inspect io itertools json keyword linecache locale logging math numbers "
    "operator pathlib pickle pkgutil platform pprint queue random re secrets select "
    "shutil signal socket ssl stat string struct subprocess tempfile textwrap threading "
    "time tokenize traceback types typing unittest urllib.parse urllib.request uuid warnings weakref "
    "zipfile zlib "
)
PRELOADED = tuple(_WORDS.split())


def closures_path(interpreter: Interpreter, cache: Cache) -> Path:
    """Return where an interpreter's closures are, or will be."""
    key = digest(interpreter.id, interpreter.path, PRELOADED, SCRIPT.read_text("utf-8"))
    return cache.interpreters / f"closures-{key[:32]}.json"


def find_closures(interpreter: Interpreter, cache: Cache) -> None:
    """See that an interpreter's closures are known; takes seconds the first time. Raises ``HarnessProblem``."""

    def ask(aside: Path) -> None:
        command = [interpreter.path, "-I", "-B", str(SCRIPT), *PRELOADED]
        with aside.open("wb") as stream:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                timeout=300,
            )
        if done.returncode != 0:
            raise HarnessProblem(f"{interpreter.label}: {done.stderr.decode('utf-8', 'replace').strip()[-200:]}")

    cache.file(closures_path(interpreter, cache), ask)
