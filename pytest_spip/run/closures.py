"""What the import of a standard module makes visible, found once per interpreter and kept in the cache."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_spip.disk import Cache
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Interpreter, digest

__all__ = ["closures_path", "find_closures"]

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
KNOWN = tuple(_WORDS.split())


def closures_path(interpreter: Interpreter, cache: Cache) -> Path:
    """Return where an interpreter's closures are, or will be."""
    key = digest(interpreter.id, interpreter.path, KNOWN, SCRIPT.read_text("utf-8"))
    return cache.interpreters / f"closures-{key[:32]}.json"


def find_closures(interpreter: Interpreter, cache: Cache) -> None:
    """See that an interpreter's closures are known; takes seconds the first time. Raises ``HarnessProblem``."""

    def ask(aside: Path) -> None:
        command = [interpreter.path, "-I", "-S", "-B", str(SCRIPT), *KNOWN]
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
