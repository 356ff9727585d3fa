"""An interpreter that starts here, and not where its library is hidden: its program names another directory for that."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["moved_library"]

_PLACE = re.compile(rb"\0(/[^\0:]+)\0")


@contextlib.contextmanager
def moved_library(program: str, target: Path) -> Iterator[str]:
    """Copy an interpreter to ``target`` and its library to a short path; yield the path, or nothing for one without library."""
    data = Path(program).read_bytes()
    found = [(one[1], list(Path(one[1].decode()).glob("libpython*.so.*"))) for one in _PLACE.finditer(data)]
    with tempfile.TemporaryDirectory(
        prefix="s", dir="/tmp"
    ) as directory:  # no longer than the name that it takes the place of
        for name, libraries in found:
            if libraries and len(directory) <= len(name):
                Path(directory).chmod(0o755)
                for library in libraries:
                    shutil.copy(library, directory)
                target.write_bytes(data.replace(name, directory.encode().ljust(len(name), b"\0"), 1))
                target.chmod(0o755)
                yield str(target)
                return
        yield ""
